package memory

import (
	"bufio"
	"math"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// unlimited is what the kernel says of a control group of version 1 without a limit, less what rounding to pages takes.
const unlimited = math.MaxInt64 - 1<<20

// GroupLimit returns the bytes that the control group of this process may take, or 0 where nothing limits it. root is where
// the file systems are mounted, "/" but in tests. Limits of the groups above count too: the smallest one is the one that ends
// the process. memory.high, which slows it down instead, counts as a limit.
func GroupLimit(root string) int64 {
	f, err := os.Open(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return 0
	}
	defer f.Close()
	limit := int64(0)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		parts := strings.SplitN(lines.Text(), ":", 3) // cgroups(7): hierarchy:controllers:path
		if len(parts) != 3 {
			continue
		}
		switch {
		case parts[0] == "0" && parts[1] == "":
			for _, mount := range []string{"sys/fs/cgroup", "sys/fs/cgroup/unified"} {
				limit = smaller(limit, climb(filepath.Join(root, mount), parts[2], "memory.max", "memory.high"))
			}
		case strings.Contains(","+parts[1]+",", ",memory,"):
			limit = smaller(limit, climb(filepath.Join(root, "sys/fs/cgroup/memory"), parts[2], "memory.limit_in_bytes"))
		}
	}
	return limit
}

// climb returns the smallest limit that the files say, in a group and in those above it. In a container the path may be one of
// the machine's, of which only the end is mounted, as the top: what is not there is passed over.
func climb(mount, group string, files ...string) (limit int64) {
	for at := path.Clean("/" + group); ; at = path.Dir(at) {
		for _, name := range files {
			limit = smaller(limit, read(filepath.Join(mount, at, name)))
		}
		if at == "/" {
			return limit
		}
	}
}

// read returns the number of bytes in a file, or 0 where it says that there is no limit, or nothing.
func read(file string) int64 {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || n <= 0 || n >= unlimited { // "max" is no number
		return 0
	}
	return n
}

// smaller returns the smaller one of two limits, of which 0 is none.
func smaller(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}
