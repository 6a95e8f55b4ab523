package cli

// examples are what the help of each command shows, by the words behind sp. Each can be parsed,
// which is tested: so there is nothing in them that only a shell understands.
var examples = map[string][]string{
	"": {
		"sp pair --listen :7000",
		"sp outlet --listen :7000 --target 127.0.0.1:9000",
		"sp inlet --listen :6000 --to server.example.com:7000",
	},
	"inlet": {
		"sp inlet --listen :6000 --to server.example.com:7000",
		"sp inlet --listen :6000 --to db@server.example.com:7000 --to db@relay.example.com:4000",
		"sp inlet --listen - --to home@relay.example.com:4000",
		"sp inlet --listen unix:db.sock --to db@wss://relay.example.com/sp",
	},
	"outlet": {
		"sp outlet --listen :7000 --target 127.0.0.1:9000",
		"sp outlet --relay relay.example.com:4000 --name db --target 127.0.0.1:5432",
		"sp outlet --listen :7000 --name api --target tls://api.example.com:443 --allow-file friends",
	},
	"relay": {
		"sp relay --listen :4000 --allow " + exampleIdentifier,
		"sp relay --listen :4000 --listen wss://:443/sp --tls-cert cert.pem --tls-key key.pem",
		"sp relay --listen :4000 --set other.example.com:4000 --advertise here.example.com:4000 " +
			"--relay-identity " + exampleIdentifier,
	},
	"bridge": {"sp bridge --listen :8000 --next inside.example.com:7000"},
	"run": {
		"sp run --to db=db@relay.example.com:4000 -- psql -h {db.host} -p {db.port} app",
		"sp run --serve web=:8080 --relay relay.example.com:4000 -- python3 -m http.server 8080",
	},
	"wait":   {"sp wait db@relay.example.com:4000 cache@relay.example.com:4000 --timeout 30s"},
	"up":     {"sp up --config /etc/sp/sp.toml --watch"},
	"check":  {"sp check /etc/sp/sp.toml"},
	"config": {"sp config --against 4711", "sp config /etc/sp/sp.toml"},
	"service": {
		"sp service install -- outlet --relay relay.example.com:4000 --name db --target :5432",
		"sp service start",
	},
	"service install": {
		"sp service install -- outlet --relay relay.example.com:4000 --name db --target :5432",
		"sp service install --name cache -- inlet --listen :6379 --to cache@relay.example.com:4000",
	},
	"service start":  {"sp service start"},
	"service stop":   {"sp service stop --name cache"},
	"service status": {"sp service status"},
	"service remove": {"sp service remove --name cache"},
	"service host":   {"sp service host --name sp -- up --config sp.toml"},
	"identity": {
		"sp identity create server.key",
		"sp identity show",
	},
	"identity create": {"sp identity create", "sp identity create server.key"},
	"identity show":   {"sp identity show", "sp identity show server.key --full"},
	"identity rotate": {"sp identity rotate server.key --credential server.cred"},
	"credential": {
		"sp credential issue --identity boss.key --for " + exampleIdentifier + " --attr role=db",
	},
	"credential issue": {
		"sp credential issue --identity boss.key --for " + exampleIdentifier + " --attr role=db",
		"sp credential issue --for " + exampleIdentifier + " --attr relay-name=db --expires 30d",
	},
	"credential show":   {"sp credential show client.cred"},
	"credential verify": {"sp credential verify --authority " + exampleIdentifier + " client.cred"},
	"credential revoke": {"sp credential revoke --deny-file denied client.cred"},
	"pair": {
		"sp pair --relay relay.example.com:4000",
		"sp pair --listen :7000 --at server.example.com:7000",
		"sp pair code.txt",
	},
	"ticket":        {"sp ticket create --to server.example.com:7000"},
	"ticket create": {"sp ticket create --identity server.key --to server.example.com:7000"},
	"ticket show":   {"sp ticket show ticket.txt"},
	"ticket revoke": {"sp ticket revoke --allow-file friends ticket.txt"},
	"send":          {"sp send --to /ip4/127.0.0.1/tcp/7000/secure/api/service/uppercase hello"},
	"ping":          {"sp ping db@relay.example.com:4000 -c 2"},
	"trace":         {"sp trace db@relay.example.com:4000"},
	"route":         {"sp route db@relay.example.com:4000"},
	"doctor": {
		"sp doctor db@relay.example.com:4000",
		"sp doctor --relay relay.example.com:4000 --name db",
	},
	"bench": {
		"sp bench bench@relay.example.com:4000",
		"sp bench bench@relay.example.com:4000 --json",
		"sp bench bench@relay.example.com:4000 --compare before.json",
	},
	"status": {
		"sp status",
		"sp status --watch",
		"sp status --disconnect 4711.1",
	},
	"completion": {
		"sp completion bash",
		"sp completion fish",
	},
	"man":     {"sp man inlet", "sp man --dir /usr/local/share/man/man1"},
	"help":    {"sp help inlet", "sp help routes"},
	"version": {"sp version"},
}

// exampleIdentifier is one that nobody has.
const exampleIdentifier = "I0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
