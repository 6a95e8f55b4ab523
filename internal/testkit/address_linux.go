package testkit

import "golang.org/x/sys/unix"

// hold has a port that nobody has, until it is let go, and lets others listen there. It binds a
// socket to it that does not listen, in a way that only one can; then it puts up with a server.
// Linux gives such a port to nobody who has not asked for that very one.
func hold(port int) (letGo func(), err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	err = unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
	if err == nil { // servers have this as well, and two who have it do not mind each other
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return func() { _ = unix.Close(fd) }, nil
}
