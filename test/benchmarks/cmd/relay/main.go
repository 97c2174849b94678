// Command relay hands bytes on between clients and an origin, and reads nothing in them: what a proxy cannot do without.
// Beside proxies it stands for the physical limit, so it makes as few system calls as it can: one thread, which waits for
// all sockets at once and is woken by edges; for a message one receive and one send.
//
//	relay 127.0.0.1:8080 127.0.0.1:8081
package main

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: relay LISTEN ORIGIN")
		os.Exit(2)
	}
	fmt.Fprintln(os.Stderr, "relay:", serve(os.Args[1], os.Args[2]))
	os.Exit(1)
}

// serve relays until an error of its own ends it, which it returns; those of a connection end only that.
func serve(listen, origin string) error {
	runtime.LockOSThread()
	r, err := newRelay(listen, origin)
	if err != nil {
		return err
	}
	for {
		if err := r.turn(); err != nil {
			return err
		}
	}
}

// address reads an address of IPv4, with its port.
func address(text string) (*unix.SockaddrInet4, error) {
	a, err := netip.ParseAddrPort(text)
	if err != nil {
		return nil, err
	}
	if !a.Addr().Is4() {
		return nil, fmt.Errorf("%s is not an address of IPv4", text)
	}
	return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}, nil
}
