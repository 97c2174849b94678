package memory

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/go-logr/logr"
)

const (
	// sharePercent is how much of the group's limit the runtime may take. The rest is for what it does not count: the buffers
	// of sockets, files that are cached, and what is allocated while a collection runs.
	sharePercent = 90
	// look is how often the keeper looks: at the group's limit, which may be changed while the process runs, and at what could
	// be given back.
	look = 2 * time.Second
	// calm is how many looks in a row, with one collection in all of them at most, say that a peak is over: a process under a
	// steady load may collect only every few seconds.
	calm = 5
	// worthwhile is the least that is given back. Less is not worth a collection.
	worthwhile = 16 << 20
	// between is the least time between two returns: what a proxy under load gives back it needs again. A collection takes about
	// a second of CPU time for a gigabyte.
	between = 30 * time.Second
	// room is how much may be allocated between two collections where more lives: what lives is configuration then, which need
	// not have as much garbage beside it, as the runtime would allow. Measured with 10,000 services, all of which change at
	// once: 356 MiB are resident at most instead of 569. With 10,000 idle TLS connections, whose handshakes were the garbage, it
	// is 18.5 KiB for each instead of 21.7 with room for 64 MiB.
	room = 40 << 20
	// leastPercent bounds how much more often there are collections because of that.
	leastPercent = 33
)

// A Keeper keeps the process's memory.
type Keeper struct {
	log    logr.Logger
	root   string
	own    bool          // the limit is ours to set
	paces  bool          // and so is how much garbage there may be
	pace   int           // percent, that was set
	limit  int64         // that was set; 0: none
	settle time.Duration // between two looks

	held        uint64    // bytes that the process had from the system at the last look
	collections uint64    // that there had been before the calm looks
	floor       uint64    // the least that it has held since something was given back
	last        time.Time // when that was
	calmLooks   int       // in a row
}

// NewKeeper returns a Keeper, which has set the limit for the first time, unless GOMEMLIMIT says what it shall be.
func NewKeeper(log logr.Logger) *Keeper {
	k := &Keeper{log: log, root: "/", settle: look, pace: 100}
	k.own, k.paces = os.Getenv("GOMEMLIMIT") == "", os.Getenv("GOGC") == ""
	k.follow()
	return k
}

// follow sets the limit as the group has it.
func (k *Keeper) follow() {
	if !k.own {
		return
	}
	group := GroupLimit(k.root)
	if group == k.limit {
		return
	}
	k.limit = group
	if group == 0 {
		debug.SetMemoryLimit(1<<63 - 1)
		k.log.Info("there is no limit of memory any more")
		return
	}
	share := group / 100 * sharePercent
	debug.SetMemoryLimit(share)
	k.log.Info("the memory limit follows the control group's", "limit_mib", share>>20, "group_mib", group>>20)
}

// Run keeps the memory until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	ticker := time.NewTicker(k.settle)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			k.follow()
			k.setPace()
			k.giveBack(now)
		}
	}
}

// setPace lets there be as much garbage as lives, the runtime's own way, or room, if that is less.
func (k *Keeper) setPace() {
	if !k.paces {
		return
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	pace := int(min(100, max(leastPercent, room*100/max(live[0].Value.Uint64(), 1))))
	if pace == k.pace || pace != 100 && pace != leastPercent && max(pace-k.pace, k.pace-pace) < 10 {
		return // setting it stops everything for a moment
	}
	k.pace = pace
	debug.SetGCPercent(pace)
}

// giveBack returns to the system what a peak has left behind, when it is over: when hardly any collection was due for some
// looks, and the process holds half as much again as it did at its last return. The runtime gives back too, but slowly, and what
// it holds is found to be garbage only by the next collection, which a process that has become idle does for minutes not need.
func (k *Keeper) giveBack(now time.Time) {
	held, collections := usage()
	if collections > k.collections+1 || held > k.held+worthwhile/4 {
		k.calmLooks, k.collections = 0, collections
	} else {
		k.calmLooks++
	}
	k.held = held
	if k.floor == 0 || held < k.floor {
		k.floor = held
	}
	if k.calmLooks < calm || held < k.floor+max(worthwhile, k.floor/2) || !k.last.IsZero() && now.Sub(k.last) < between {
		return
	}
	debug.FreeOSMemory()
	k.last = now
	k.held, k.collections = usage()
	k.floor = k.held
	k.log.V(1).Info("memory was given back", "before_mib", held>>20, "after_mib", k.held>>20)
}

// usage returns the bytes that the runtime has from the system, and how many collections there have been.
func usage() (held, collections uint64) {
	samples := []metrics.Sample{
		{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}, {Name: "/gc/cycles/total:gc-cycles"},
	}
	metrics.Read(samples)
	return samples[0].Value.Uint64() - samples[1].Value.Uint64(), samples[2].Value.Uint64()
}
