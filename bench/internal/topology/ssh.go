//go:build linux

package topology

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
)

// sshdConfig lets the current user in with one key, to forward and nothing else.
const sshdConfig = `ListenAddress %s
HostKey %s
AuthorizedKeysFile %s
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
AllowTcpForwarding local
LogLevel ERROR
`

// sshCipher is the one of ssh's with the key size of sp's suite. Left alone, ssh
// takes ChaCha20-Poly1305, whatever the processor.
const sshCipher = "aes256-gcm@openssh.com"

// privsepDir is compiled into Debian's sshd, which does not start without it as root.
const privsepDir = "/run/sshd"

// ssh is ssh -L through an sshd of its own.
func ssh() Topology {
	return Topology{
		Name:    "ssh",
		About:   "ssh -L (OpenSSH)",
		Cipher:  sshCipher,
		Needs:   []string{"ssh", "sshd", "ssh-keygen"},
		IdleMax: pollIdleMax,
		start: func(s *site, target string) (string, error) {
			a, err := addrs(2)
			if err != nil {
				return "", err
			}
			if err := s.sshd(a[0]); err != nil {
				return "", err
			}
			server, err := s.link(a[0])
			if err != nil {
				return "", err
			}
			return a[1], s.sshForward(a[1], server, target)
		},
	}
}

func (s *site) sshd(listen string) error {
	for _, name := range []string{"host", "user"} {
		out, err := exec.Command(s.kit.programs["ssh-keygen"],
			"-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(s.dir, name)).CombinedOutput()
		if err != nil {
			return fmt.Errorf("ssh-keygen: %w\n%s", err, out)
		}
	}
	if os.Geteuid() == 0 {
		if err := os.MkdirAll(privsepDir, 0o755); err != nil {
			return err
		}
	}
	config, err := s.write("sshd_config", fmt.Sprintf(sshdConfig, listen,
		filepath.Join(s.dir, "host"), filepath.Join(s.dir, "user.pub")))
	if err != nil {
		return err
	}
	return s.runAt(listen, "sshd", "-D", "-e", "-f", config)
}

func (s *site) sshForward(listen, server, target string) error {
	me, err := user.Current()
	if err != nil {
		return err
	}
	host, port := split(server)
	hostKey, err := os.ReadFile(filepath.Join(s.dir, "host.pub"))
	if err != nil {
		return err
	}
	known, err := s.write("known_hosts", fmt.Sprintf("[%s]:%s %s", host, port, hostKey))
	if err != nil {
		return err
	}
	return s.runAt(listen, "ssh", "-F", "none", "-N", "-T", "-p", port,
		"-i", filepath.Join(s.dir, "user"),
		"-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "BatchMode=yes",
		"-o", "UserKnownHostsFile="+known, "-o", "StrictHostKeyChecking=yes",
		"-o", "Ciphers="+sshCipher, "-o", "Compression=no",
		"-o", "ExitOnForwardFailure=yes", "-o", "LogLevel=ERROR",
		"-L", listen+":"+target, me.Username+"@"+host)
}
