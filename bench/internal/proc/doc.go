// Package proc starts the processes of a topology, says what they cost, and
// leaves none behind.
//
// A [Set] holds them. CPU and memory are those of every process started and of
// all their descendants, since sshd and socat do their work in children.
package proc
