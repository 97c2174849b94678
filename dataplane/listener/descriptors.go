package listener

import "golang.org/x/sys/unix"

// minReserve is the least number of descriptors that clients do not get.
const minReserve = 64

// Descriptors returns how many files and sockets the process may have open. Go raises the limit that is in effect to the one
// that it may be raised to, when a program starts.
func Descriptors() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > 1<<30 {
		return 1 << 30
	}
	return int(limit.Cur)
}

// Fit returns how many clients may be connected where so many are wished for, 0 being any number: a quarter of the
// descriptors is kept for endpoints, files and those who look what is wrong. Without it a proxy full of clients could serve
// none of them. enough says that there are descriptors for a connection to an endpoint beside that of each client.
func Fit(wished, descriptors int) (limit int, enough bool) {
	most := max(descriptors-max(minReserve, descriptors/4), 1)
	enough = wished > 0 && 2*wished+minReserve <= descriptors
	if wished == 0 || wished > most {
		return most, enough
	}
	return wished, enough
}
