package kube

import (
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Address takes an IPv4 address that no other pod of these tests has or had. Anybody in the namespace may bind it.
func (p *ControlPlane) Address(t testing.TB) netip.Addr {
	t.Helper()
	high, low := p.nextAddress(t)
	return netip.AddrFrom4([4]byte{10, 99, high, low})
}

// Address6 takes an IPv6 address.
func (p *ControlPlane) Address6(t testing.TB) netip.Addr {
	t.Helper()
	high, low := p.nextAddress(t)
	address := netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x99, 14: high, 15: low})
	// Unlike with IPv4, only an address of the interface can be bound.
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.AddrReplace(lo, &netlink.Addr{IPNet: netlink.NewIPNet(address.AsSlice()), Flags: unix.IFA_F_NODAD})
	}
	if err != nil {
		t.Fatalf("%v on lo: %v", address, err)
	}
	return address
}

// nextAddress leaves out those that mean a network or everybody in one, and the machine's own.
func (p *ControlPlane) nextAddress(t testing.TB) (high, low byte) {
	t.Helper()
	const each = 254
	n := p.addresses.Add(1) + each
	if n >= 256*each {
		t.Fatalf("all %d addresses are taken", n)
	}
	return byte(n / each), byte(n%each + 1)
}

func (p *ControlPlane) takeAddresses(t testing.TB, dual bool) []netip.Addr {
	t.Helper()
	addresses := []netip.Addr{p.Address(t)}
	if dual {
		addresses = append(addresses, p.Address6(t))
	}
	return addresses
}
