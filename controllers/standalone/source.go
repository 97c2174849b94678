package standalone

import (
	"context"
	"time"

	"github.com/go-logr/logr"

	"github.com/pingora-proxy/pingora-proxy/controllers/standalone/certificates"
	"github.com/pingora-proxy/pingora-proxy/controllers/standalone/files"
)

// recheck finds what no event told: file systems without events, and watched folders that were replaced.
const recheck = 5 * time.Second

// A Source keeps a configuration up to date with its files.
type Source struct {
	options Options
	log     logr.Logger
	result  func(err error)
	reload  chan struct{}
	recheck time.Duration
	deaf    bool // for tests: as on a file system without events

	history *history
	files   certificates.Files // as the last configuration has read them, whether it was good or not
}

// NewSource makes a source of the options. It calls result after every reload: with nil where the new configuration is
// in effect, else with why it is not, an *InvalidError or apply's error. result may be nil.
func NewSource(o Options, log logr.Logger, result func(err error)) *Source {
	if result == nil {
		result = func(error) {}
	}
	o.selfSigned = certificates.NewSelfSigned(o.Environment, log)
	return &Source{options: o, log: log, result: result, reload: make(chan struct{}, 1), recheck: recheck}
}

// Reload makes Run read the configuration again and apply it, changed or not. It does not wait.
func (s *Source) Reload() {
	select {
	case s.reload <- struct{}{}:
	default: // one is waiting already, and will see what is there now
	}
}

// Run applies the configuration now, and again whenever its files change or Reload asks for it, until ctx is done. A
// configuration that is bad or that apply refuses is logged, a line a problem, and changes nothing; only the first one
// ends Run, with an *InvalidError or apply's error. Where the caller has loaded the first one already it hands it in,
// else first is nil.
func (s *Source) Run(ctx context.Context, first *Loaded, apply func(*Loaded) error) error {
	// Watching begins before reading, so that no change falls between.
	w := &files.Watcher{}
	if s.options.Path != "" && !s.deaf {
		w = files.NewWatcher(s.log)
	}
	defer w.Close()
	w.Follow(s.watched(), false)
	if first == nil || first.selfSigned { // whoever has loaded it has not kept what was made for it
		var problems []Problem
		if first, problems = Load(s.options); first == nil {
			return &InvalidError{Problems: problems}
		}
	}
	s.history = first.history
	s.history.folder.Watch()
	if err := apply(first); err != nil {
		return err
	}
	seen := first.read
	s.files = first.files
	w.Follow(s.watched(), false)

	quiet := time.NewTimer(files.Settle) // the first look compares with what was handed in
	defer quiet.Stop()
	again := time.NewTicker(s.recheck)
	defer again.Stop()
	var lull files.Lull
	for {
		forced := false
		select {
		case <-ctx.Done():
			return nil
		case e := <-w.Events():
			if !w.Concerns(e) {
				continue
			}
			s.history.folder.Told(e)
			quiet.Reset(lull.Wait(time.Now(), e))
			continue
		case err := <-w.Errors():
			if files.Overflow(err) { // so much has happened that nobody knows what
				s.history.folder.Doubt()
				quiet.Reset(files.Settle)
				continue
			}
			s.log.Error(err, "watching the configuration failed; it is read again every few seconds")
			continue
		case <-s.reload:
			forced = true
			s.history.folder.Doubt()
		case <-quiet.C:
		case <-again.C:
			s.history.folder.Doubt()
		}
		lull = files.Lull{}
		w.Follow(s.watched(), s.history.folder.Sure())
		now := s.history.read(s.options.Path)
		others := s.files.Changed()
		if !forced && now.same(seen) && !others {
			continue
		}
		seen = now
		s.result(s.update(now, apply))
		w.Follow(s.watched(), s.history.folder.Sure() && !others) // theirs may be links that lead elsewhere now
	}
}

// watched lists what the configuration is made of.
func (s *Source) watched() []string {
	return append(s.files.Names(), s.options.Path)
}

func (s *Source) update(now reading, apply func(*Loaded) error) error {
	loader := newLoader(s.options, s.history)
	loaded, problems := loader.load(now)
	s.files = loader.files
	if loaded == nil {
		for _, p := range problems {
			s.log.Error(nil, p.String(), "file", p.File, "line", p.Line, "column", p.Column, "field", p.Path)
		}
		s.log.Error(nil, "the new configuration is refused; the last good one keeps serving", "problems", len(problems))
		return &InvalidError{Problems: problems}
	}
	if err := apply(loaded); err != nil {
		s.log.Error(err, "the new configuration could not be applied; the last good one keeps serving")
		return err
	}
	s.log.Info("configuration reloaded", "hash", loaded.Snapshot.Hash, "services", len(loaded.Services))
	return nil
}
