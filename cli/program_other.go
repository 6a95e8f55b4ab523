//go:build !unix

package cli

import (
	"errors"
	"os"
	"os/exec"
)

// passedSignals are none besides SIGINT and SIGTERM, which are only known here.
func passedSignals(bool) []os.Signal { return nil }

// program is one that runs. What is typed at the console reaches it as it reaches this process.
type program struct{ cmd *exec.Cmd }

// startProgram starts a program that has stdin, stdout and stderr of this process.
func startProgram(path string, args, environment []string) (*program, error) {
	cmd := exec.Command(path, args[1:]...)
	cmd.Args[0], cmd.Env = args[0], environment
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &program{cmd}, nil
}

// signal passes nothing on: the console has told the program, too.
func (p *program) signal(os.Signal) {}

// wait returns how the program has ended.
func (p *program) wait() *commandEnd {
	err := p.cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return &commandEnd{code: exit.ExitCode()}
	}
	if err != nil {
		return &commandEnd{code: exitFailed, err: err}
	}
	return &commandEnd{}
}
