package peers

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// CPUTime is the CPU time, user and system, that the process and its children have used so far, in nanoseconds'
// resolution: it reads the CPU clock of each process, where /proc/PID/stat counts in ticks of 10 ms.
func (p *Process) CPUTime() (time.Duration, error) {
	tree, err := Tree(p.PID())
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	for _, pid := range tree {
		var ts unix.Timespec
		if err := unix.ClockGettime(cpuClock(pid), &ts); err != nil {
			return 0, fmt.Errorf("CPU clock of process %d (%s): %w", pid, p.name, err)
		}
		sum += time.Duration(ts.Nano())
	}
	return sum, nil
}

// cpuClock is the clock id of a process' CPU time, all its threads included, ended ones too: MAKE_PROCESS_CPUCLOCK(pid,
// CPUCLOCK_SCHED) of Linux, which is what clock_getcpuclockid(3) returns.
func cpuClock(pid int) int32 {
	const sched = 2
	return int32(^pid)<<3 | sched
}

// Resident is the resident memory in bytes of the process and its children. Pages that a master shares with its workers
// count once in each, as in ps.
func (p *Process) Resident() (int64, error) {
	tree, err := Tree(p.PID())
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, pid := range tree {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return 0, err
		}
		n, err := vmRSS(string(data))
		if err != nil {
			return 0, fmt.Errorf("/proc/%d/status: %w", pid, err)
		}
		sum += n
	}
	return sum, nil
}

// vmRSS reads the resident memory in bytes out of /proc/PID/status.
func vmRSS(status string) (int64, error) {
	for line := range strings.Lines(status) {
		rest, ok := strings.CutPrefix(line, "VmRSS:")
		if !ok {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("VmRSS: %w", err)
		}
		return kib << 10, nil
	}
	return 0, errors.New("no VmRSS line")
}

// Tree returns pid and the ids of all its descendants.
func Tree(pid int) ([]int, error) {
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	children := map[int][]int{}
	for _, path := range stats {
		data, err := os.ReadFile(path)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
				continue // ended since the listing
			}
			return nil, err
		}
		child, parent, err := parseStat(string(data))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		children[parent] = append(children[parent], child)
	}
	tree := []int{pid}
	for i := 0; i < len(tree); i++ {
		tree = append(tree, children[tree[i]]...)
	}
	return tree, nil
}

// parseStat reads the process' and its parent's id out of /proc/PID/stat. The name in it may hold spaces and parentheses.
func parseStat(stat string) (pid, parent int, err error) {
	head, _, ok := strings.Cut(stat, " (")
	end := strings.LastIndex(stat, ") ")
	if !ok || end < 0 {
		return 0, 0, fmt.Errorf("unexpected form %q", stat)
	}
	fields := strings.Fields(stat[end+2:])
	if len(fields) < 2 {
		return 0, 0, fmt.Errorf("unexpected form %q", stat)
	}
	if pid, err = strconv.Atoi(head); err != nil {
		return 0, 0, err
	}
	parent, err = strconv.Atoi(fields[1])
	return pid, parent, err
}
