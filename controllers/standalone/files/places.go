package files

import (
	"os"
	"path/filepath"
	"syscall"
)

// maxLinks is how many links are followed from one path: the kernel follows no more than 40 (path_resolution(7)).
const maxLinks = 40

// A places are the folders in which a change can change what paths mean: those of the paths, where every change counts, and those
// of the links that they go through, where the links alone do.
type places struct {
	names   []string             // of the folders, each once
	paths   map[string]bool      // folders of the paths themselves
	links   map[string]bool      // by name
	spelt   map[string]string    // the name of a folder among names, by any of its names
	known   map[[2]uint64]string // the same by device and inode: a folder is watched once, whatever names it has
	targets map[string]string    // of links, empty where there is none: what was asked already
}

func newPlaces() *places {
	return &places{
		paths: map[string]bool{}, links: map[string]bool{}, spelt: map[string]string{}, known: map[[2]uint64]string{},
		targets: map[string]string{},
	}
}

// add adds a folder, and returns its name among names.
func (p *places) add(dir string) string {
	if name, again := p.spelt[dir]; again {
		return name
	}
	name := dir
	if info, err := os.Stat(dir); err == nil {
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			id := [2]uint64{stat.Dev, stat.Ino}
			if other, again := p.known[id]; again {
				name = other
			} else {
				p.known[id] = dir
			}
		}
	}
	p.spelt[dir] = name
	if name == dir {
		p.names = append(p.names, dir)
	}
	return name
}

// own adds a folder in which everything counts.
func (p *places) own(dir string) { p.paths[p.add(dir)] = true }

// follow adds the folders of a path.
func (p *places) follow(path string) {
	p.own(filepath.Dir(path))
	for range maxLinks {
		link, next := p.firstLink(path)
		if link == "" {
			break
		}
		p.links[filepath.Join(p.add(filepath.Dir(link)), filepath.Base(link))] = true
		path = next
	}
	p.own(filepath.Dir(path))
}

// firstLink returns the first link that the kernel meets on a path, and the path that it goes on with; "" where it meets none.
func (p *places) firstLink(path string) (link, next string) {
	for i := 1; i <= len(path); i++ {
		if i < len(path) && path[i] != filepath.Separator {
			continue
		}
		part := path[:i]
		target, asked := p.targets[part]
		if !asked {
			target, _ = os.Readlink(part) // what is no link, or is not there, leads nowhere else
			p.targets[part] = target
		}
		if target == "" {
			continue
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(part), target)
		}
		return part, filepath.Join(target, path[i:])
	}
	return "", ""
}

// placesOf are those of paths, and of a folder's files.
func placesOf(paths []string) *places {
	p := newPlaces()
	for _, path := range paths {
		p.follow(path)
		if info, err := os.Stat(path); err != nil || !info.IsDir() {
			continue
		}
		p.own(filepath.Clean(path))
		entries, _ := list(path) // what cannot be listed has nothing to follow
		for _, e := range entries {
			if e.Type()&os.ModeSymlink != 0 {
				p.follow(filepath.Join(path, e.Name()))
			}
		}
	}
	return p
}

// concern says whether what has happened under a name can matter.
func (p *places) concern(name string) bool {
	name = filepath.Clean(name)
	return p.paths[filepath.Dir(name)] || p.paths[name] || p.links[name]
}
