package route

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/secureportal/sp/wire"
)

var one = "I" + strings.Repeat("01", 32)

func is(id string) wire.Address { return wire.Address{Kind: wire.Is, Name: id} }

func TestParse(t *testing.T) {
	ip4 := wire.Address{Kind: wire.IP4, IP: netip.MustParseAddr("10.0.0.2"), Port: 7000}
	ip6 := wire.Address{Kind: wire.IP6, IP: netip.MustParseAddr("2001:db8::1"), Port: 1}
	dns := wire.Address{Kind: wire.DNS, Name: "relay.example.com", Port: 65535}
	outlet := []wire.Address{secure(), svc(OutletName)}
	const toOutlet = "/secure/api/service/outlet"
	for text, want := range map[string]struct {
		route Route
		long  string
	}{
		"10.0.0.2:7000":           {ToOutlet(ip4), "/ip4/10.0.0.2/tcp/7000" + toOutlet},
		"[2001:db8::1]:1":         {ToOutlet(ip6), "/ip6/2001:db8::1/tcp/1" + toOutlet},
		"[::ffff:10.0.0.2]:7000":  {ToOutlet(ip4), "/ip4/10.0.0.2/tcp/7000" + toOutlet},
		"relay.example.com:65535": {ToOutlet(dns), "/dnsaddr/relay.example.com/tcp/65535" + toOutlet},
		"db@10.0.0.2:7000": {
			append(Route{ip4, svc("forward_to_db")}, outlet...),
			"/ip4/10.0.0.2/tcp/7000/service/forward_to_db/secure/api/service/outlet",
		},
		"relay.example.com:65535/10.0.0.2:7000": {
			append(Route{dns, secure(), ip4}, outlet...),
			"/dnsaddr/relay.example.com/tcp/65535/secure/api/ip4/10.0.0.2/tcp/7000" + toOutlet,
		},
		"10.0.0.2:7000/db@": {
			append(Route{ip4, secure(), svc("forward_to_db")}, outlet...),
			"/ip4/10.0.0.2/tcp/7000/secure/api/service/forward_to_db" + toOutlet,
		},
		"edge@10.0.0.2:7000/db@[2001:db8::1]:1": {
			append(Route{ip4, svc("forward_to_edge"), secure(), ip6, svc("forward_to_db")}, outlet...),
			"/ip4/10.0.0.2/tcp/7000/service/forward_to_edge/secure/api" +
				"/ip6/2001:db8::1/tcp/1/service/forward_to_db" + toOutlet,
		},
		"10.0.0.2:7000/edge@#" + one + "/[2001:db8::1]:1": {
			append(Route{ip4, secure(), svc("forward_to_edge"), secure(), is(one), ip6}, outlet...),
			"/ip4/10.0.0.2/tcp/7000/secure/api/service/forward_to_edge/secure/api/is/" + one +
				"/ip6/2001:db8::1/tcp/1" + toOutlet,
		},
		"db@10.0.0.2:7000#" + one: {
			Route{ip4, svc("forward_to_db"), secure(), is(one), svc(OutletName)},
			"/ip4/10.0.0.2/tcp/7000/service/forward_to_db/secure/api/is/" + one + "/service/outlet",
		},
		"unix:/run/a/b#c@d": {
			ToOutlet(wire.Address{Kind: wire.Unix, Name: "/run/a/b#c@d"}),
			"/unix/%2Frun%2Fa%2Fb%23c@d" + toOutlet,
		},
		"db@unix:/run/a": {
			ToOutlet(wire.Address{Kind: wire.Unix, Name: "/run/a"}, svc("forward_to_db")),
			"/unix/%2Frun%2Fa/service/forward_to_db" + toOutlet,
		},
		"tls://relay.example.com:65535/db@wss://a.b/x/y": {
			Route{
				{Kind: wire.TLS, Name: "relay.example.com", Port: 65535},
				secure(),
				{Kind: wire.WSS, Name: "a.b/x/y", Port: 443},
				svc("forward_to_db"), secure(), svc("outlet"),
			},
			"/dnsaddr/relay.example.com/tcp/65535/tls/secure/api" +
				"/dnsaddr/a.b/tcp/443/wss/x%2Fy/service/forward_to_db" + toOutlet,
		},
		"10.0.0.2:7000/nats://a.b/sp.db": {
			Route{
				ip4, secure(), {Kind: wire.NATS, Name: "a.b/sp.db", Port: 4222}, secure(), svc("outlet"),
			},
			"/ip4/10.0.0.2/tcp/7000/secure/api/nats/a.b/4222/sp.db" + toOutlet,
		},
		"ws://a.b/x#" + one + "/quic://10.0.0.2:7000/db@": {
			Route{
				{Kind: wire.WS, Name: "a.b/x", Port: 80},
				secure(),
				{Kind: wire.Is, Name: one},
				{Kind: wire.QUIC, Name: "10.0.0.2", Port: 7000},
				secure(),
				svc("forward_to_db"), secure(), svc("outlet"),
			},
			"/dnsaddr/a.b/tcp/80/ws/x/secure/api/is/" + one + "/ip4/10.0.0.2/udp/7000/quic-v1" +
				"/secure/api/service/forward_to_db" + toOutlet,
		},
		"/service/hop": {Route{svc("hop")}, "/service/hop"},
		"/ip4/10.0.0.2/tcp/7000/secure/api/ip6/2001:db8::1/tcp/1/service/a.B-c_9": {
			Route{ip4, secure(), ip6, svc("a.B-c_9")},
			"/ip4/10.0.0.2/tcp/7000/secure/api/ip6/2001:db8::1/tcp/1/service/a.B-c_9",
		},
		"/dnsaddr/relay.example.com/tcp/65535/secure/other": {
			Route{dns, {Kind: wire.Secure, Name: "other"}},
			"/dnsaddr/relay.example.com/tcp/65535/secure/other",
		},
		"/ip4/10.0.0.2/tcp/7000/secure/api/ip4/10.0.0.2/tcp/7000": { // no loop: inside the channel
			Route{ip4, secure(), ip4}, "/ip4/10.0.0.2/tcp/7000/secure/api/ip4/10.0.0.2/tcp/7000",
		},
	} {
		got, err := Parse(text)
		if err != nil || !slices.Equal(got, want.route) {
			t.Errorf("Parse(%q) = %v, %v", text, got, err)
			continue
		}
		if long := Format(got); long != want.long {
			t.Errorf("Parse(%q) is formatted %q, want %q", text, long, want.long)
		}
		if again, err := Parse(want.long); err != nil || !slices.Equal(again, got) {
			t.Errorf("Parse(%q) = %v, %v", want.long, again, err)
		}
	}
}

func TestParseErrors(t *testing.T) {
	many := strings.Repeat("/service/hop", wire.MaxRoute+1)
	for text, want := range map[string]struct {
		err  error
		says string
	}{
		"":                        {ErrSyntax, "a port is missing"},
		"/":                       {ErrSyntax, "it is empty"},
		"//":                      {ErrSyntax, "stands without a value"},
		"localhost":               {ErrSyntax, "a port is missing"},
		"localhost:":              {ErrSyntax, "from 1 to 65535"},
		"localhost:0":             {ErrSyntax, "from 1 to 65535"},
		"localhost:65536":         {ErrSyntax, "from 1 to 65535"},
		"localhost:-1":            {ErrSyntax, "from 1 to 65535"},
		"localhost:+1":            {ErrSyntax, "from 1 to 65535"},
		"localhost:http":          {ErrSyntax, "from 1 to 65535"},
		":7000":                   {ErrSyntax, "host name"},
		"::1:7000":                {ErrSyntax, "in brackets"},
		"[::1:7000":               {ErrSyntax, "not closed"},
		"[fe80::1%e 0]:7000":      {ErrSyntax, "not the name of an interface"},
		"a:1/[fe80::1%eth0]:7000": {ErrSyntax, "go on from another node"},
		"/ip4/1.2.3.4/tcp/1/secure/api/ip6/fe80::1%eth0/tcp/1/secure/api/service/outlet": {
			ErrLocal, "only begin the route",
		},
		"a b:7000":                           {ErrSyntax, "only letters"},
		"@localhost:7000":                    {ErrSyntax, "no name"},
		"a/b@localhost:7000":                 {ErrSyntax, "a port is missing"},
		"a:1/":                               {ErrSyntax, "is empty"},
		"a:1//b:2":                           {ErrSyntax, "is empty"},
		"/a:1":                               {ErrSyntax, "without a value"},
		"db@/a:1":                            {ErrSyntax, "a port is missing"},
		"a:1/@":                              {ErrSyntax, "no name"},
		"a:1/unix:b":                         {ErrSyntax, "go on from another node"},
		"a:1/db@unix:b":                      {ErrSyntax, "only letters"},
		"a:1#":                               {ErrSyntax, "identifier"},
		"a:1#" + one + "#" + one:             {ErrSyntax, "identifier"},
		"a:1#" + one[:64]:                    {ErrSyntax, "identifier"},
		"http://a:1/b:2":                     {ErrSyntax, "leave out http://"},
		"a:1/https://b/c":                    {ErrSyntax, "is wss://b/c meant?"},
		"tls://a/b":                          {ErrSyntax, "b@ for a name on that relay"},
		"quic://a":                           {ErrSyntax, "a port is missing: quic://a:PORT"},
		"wss://a@b/c":                        {ErrSyntax, "in front of it"},
		"/ip4/1.1.1.1/tcp/1/is/" + one:       {ErrExpect, ""},
		"/is/" + one:                         {ErrExpect, ""},
		"/secure/a/is/" + one + "/is/" + one: {ErrExpect, ""},
		"/ip4/1.1.1.1/tcp/1/secure/api/is/x": {ErrSyntax, "identifier"},
		strings.Repeat("a:1/", 7) + "a:1":    {ErrTooFar, ""},
		"a@b@localhost:7000":                 {ErrSyntax, "only letters"},
		"/service":                           {ErrSyntax, "stands without a value"},
		"/service/":                          {ErrSyntax, "stands without a value"},
		"/service/a/":                        {ErrSyntax, "stands without a value"},
		"/service/a b":                       {ErrSyntax, "only letters"},
		"/secure/ü":                          {ErrSyntax, "only letters"},
		"/udp/1":                             {ErrSyntax, "is not one of"},
		"/tcp/7000":                          {ErrSyntax, "is not one of"},
		"/ip4/127.0.0.1":                     {ErrSyntax, "not followed by /tcp/PORT"},
		"/ip4/127.0.0.1/tcp":                 {ErrSyntax, "not followed by /tcp/PORT"},
		"/ip4/127.0.0.1/udp/1":               {ErrSyntax, "over UDP there is QUIC"},
		"/ip4/127.0.0.1/tcp/x":               {ErrSyntax, "from 1 to 65535"},
		"/ip4/::1/tcp/1":                     {ErrSyntax, "is not what /ip4 stands before"},
		"/ip6/127.0.0.1/tcp/1":               {ErrSyntax, "is not what /ip6 stands before"},
		"/ip6/::ffff:1.2.3.4/tcp/1":          {ErrSyntax, "is not what /ip6 stands before"},
		"/dnsaddr/127.0.0.1/tcp/1":           {ErrSyntax, "is not what /dnsaddr stands before"},
		"/ip4/example.com/tcp/1":             {ErrSyntax, "is not what /ip4 stands before"},
		"/service/" + strings.Repeat("a", wire.MaxName+1): {ErrSyntax, "1 to 80"},
		strings.Repeat("a", wire.MaxHost+1) + ":1":        {ErrSyntax, "1 to 253"},
		many:                                   {ErrTooFar, "16"},
		"/ip4/1.1.1.1/tcp/1/ip4/1.1.1.1/tcp/1": {ErrLoop, ""},
		"/ip4/1.1.1.1/tcp/1/ip4/1.1.1.1/tcp/2/ip4/1.1.1.1/tcp/1/secure/api": {ErrLoop, ""},
	} {
		r, err := Parse(text)
		if !errors.Is(err, want.err) || err != nil && !strings.Contains(err.Error(), want.says) {
			t.Errorf("Parse(%q) = %v, %v, want %v with %q", text, r, err, want.err, want.says)
		}
		if err != nil && (strings.Contains(err.Error(), "\n") || len(err.Error()) > 500) {
			t.Errorf("Parse(%q): the error is not one line of reasonable length: %v", text, err)
		}
	}
}

func TestErrorsOfLongAndOddTextStayOneLine(t *testing.T) {
	for _, text := range []string{
		strings.Repeat("x", 1<<20), "/service/a\nb", "/" + strings.Repeat("é\n", 1000), "a\nb:1",
	} {
		_, err := Parse(text)
		if !errors.Is(err, ErrSyntax) || strings.Contains(err.Error(), "\n") ||
			len(err.Error()) > 1000 {
			t.Errorf("%.20q: got %.2000v", text, err)
		}
	}
}

func TestCheck(t *testing.T) {
	a := wire.Address{Kind: wire.DNS, Name: "a", Port: 1}
	b := wire.Address{Kind: wire.DNS, Name: "a", Port: 2}
	for name, test := range map[string]struct {
		route Route
		want  error
	}{
		"empty":                {nil, nil},
		"two ports":            {Route{a, b}, nil},
		"back":                 {Route{a, b, a}, ErrLoop},
		"twice":                {Route{a, a}, ErrLoop},
		"inside a channel":     {Route{a, secure(), a}, nil},
		"twice in a channel":   {Route{a, secure(), b, a, b}, ErrLoop},
		"a service twice":      {Route{svc("x"), svc("x")}, nil},
		"as long as can be":    {slices.Repeat(Route{svc("x")}, wire.MaxRoute), nil},
		"longer than can be":   {slices.Repeat(Route{svc("x")}, wire.MaxRoute+1), ErrTooFar},
		"local":                {Route{{Kind: wire.Local, Name: "x:y"}, b}, nil},
		"local behind others":  {Route{a, secure(), {Kind: wire.Local, Name: "x:y"}}, ErrLocal},
		"as long, and expects": {slices.Repeat(Route{secure(), is(one)}, wire.MaxRoute), nil},
		"expects too early":    {Route{a, is(one), secure()}, ErrExpect},
		"expects twice":        {Route{a, secure(), is(one), is(one)}, ErrExpect},
		"long inside channel":  {slices.Repeat(Route{a, secure()}, wire.MaxRoute/2), nil},
	} {
		if err := Check(test.route); err != test.want {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
	}
}

func TestSegments(t *testing.T) {
	a := wire.Address{Kind: wire.DNS, Name: "a", Port: 1}
	b := wire.Address{Kind: wire.DNS, Name: "b", Port: 2}
	x := svc("x")
	for name, test := range map[string]struct {
		route Route
		want  []Route
	}{
		"none": {Route{a, x}, []Route{{a, x}}},
		"one":  {Route{a, secure(), x}, []Route{{a, secure()}, {x}}},
		"nested": {
			Route{a, secure(), b, secure(), secure(), x},
			[]Route{{a, secure()}, {b, secure()}, {secure()}, {x}},
		},
		"expecting": {
			Route{a, secure(), is(one), b, secure(), is(one), x},
			[]Route{{a, secure(), is(one)}, {b, secure(), is(one)}, {x}},
		},
		"nothing": {Route{a, secure()}, []Route{{a, secure()}, {}}},
	} {
		got := segments(test.route)
		if len(got) != len(test.want) || !slices.EqualFunc(got, test.want, slices.Equal) {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
		if n := length(got); n != len(test.route) {
			t.Errorf("%s: the segments have %d addresses of %d", name, n, len(test.route))
		}
	}
}

func TestForwardName(t *testing.T) {
	for text, want := range map[string]string{
		"db@relay:1":              "forward_to_db",
		"relay:1":                 "",
		"/service/hop/secure/api": "",
		"/dnsaddr/a/tcp/1/service/forward_to_a/service/forward_to_b/secure/api": "forward_to_b",
	} {
		r, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := forwardName(segments(r)[0]); got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}

func TestLocate(t *testing.T) {
	const route = "/ip4/10.0.0.1/tcp/1/ip4/10.0.0.2/tcp/2/secure/api" +
		"/ip4/10.0.0.3/tcp/3/service/forward_to_db/secure/api/service/outlet"
	r, err := Parse(route)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		begin, ordinal int
		hop            int
		where          string
	}{
		{0, 0, 0, ""},
		{0, 1, 1, "10.0.0.1:1"},
		{0, 2, 2, "10.0.0.2:2"},
		{0, 5, 0, ""},
		{3, 1, 2, "10.0.0.2:2"}, // inside a channel, the first node is the one that it ends at
		{3, 2, 3, "10.0.0.3:3"},
		{3, 3, 4, "forward_to_db"},
		{3, 4, 0, ""},
		{6, 1, 4, "forward_to_db"},
		{6, 2, 0, ""},
		{6, 255, 0, ""},
	} {
		e := &StatusError{Code: wire.Unreachable}
		e.locate(r, test.begin, test.ordinal)
		if e.Hop != test.hop || e.Where != test.where {
			t.Errorf("begin %d, ordinal %d: hop %d (%s), want %d (%s)", test.begin, test.ordinal,
				e.Hop, e.Where, test.hop, test.where)
		}
	}
}

func TestStatusErrorText(t *testing.T) {
	for want, e := range map[string]*StatusError{
		"no such service":            {Code: wire.NoService},
		"no service named x":         {Code: wire.NoService, Reason: "no service named x"},
		"hop 2 (a:1): not reachable": {Code: wire.Unreachable, Hop: 2, Where: "a:1"},
		"hop 1 (b:2): the target is off": {
			Code: wire.Refused, Hop: 1, Where: "b:2", Reason: "the target is off",
		},
	} {
		if got := e.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestNoSetIsOrdinary: an inlet asks an outlet that goes by a name for its set of relays, which is
// no trouble; to ask for what else is not there may be.
func TestNoSetIsOrdinary(t *testing.T) {
	for service, ordinary := range map[string]bool{
		NodesName: true, "outlet": false, ForwardPrefix + NodesName: false, "": false,
	} {
		e := &StatusError{Code: wire.NoService, Reason: missing(service)}
		if isOrdinary(fmt.Errorf("asked: %w", e)) != ordinary {
			t.Errorf("%q: %v", service, !ordinary)
		}
	}
	nodes := &StatusError{Code: wire.NoService, Reason: missing(NodesName)}
	if !isOrdinary(RefuseBecause(wire.NotTrusted, "", nodes)) {
		t.Error("what is ordinary is none where it is why something else is refused")
	}
	if (&StatusError{Code: wire.Busy, Reason: missing(NodesName)}).Ordinary() {
		t.Error("a node that is busy is no trouble")
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"", "/", "-", "localhost:7000", "db@relay.example.com:4000", "[::1]:1",
		"[::ffff:1.2.3.4]:5", "@:0", "a:1/b@c:2#" + one + "/d@", "/secure/x/is/" + one,
		"/dnsaddr/relay.example.com/tcp/4000/service/forward_to_db/secure/api/service/outlet",
		"/ip4/127.0.0.1/tcp/1/ip6/::1/tcp/2/secure/api/secure/x/service/outlet",
		"/ip6/fe80::1%25eth0/tcp/1", strings.Repeat("/service/hop", 17),
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := Parse(text)
		if err != nil {
			return
		}
		if len(r) == 0 {
			t.Fatalf("%q is an empty route", text)
		}
		long := Format(r)
		again, err := Parse(long)
		if err != nil || !reflect.DeepEqual(again, r) {
			t.Fatalf("%q is %v, whose long form %q is %v, %v", text, r, long, again, err)
		}
		for i, a := range r {
			if i == 0 {
				a.IP = a.IP.WithZone("") // it is not sent
			}
			if err := a.Validate(); err != nil && a.Kind != wire.Is {
				t.Fatalf("%q has %v: %v", text, a, err)
			}
		}
	})
}
