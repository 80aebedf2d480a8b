package atomicfile

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"sync"
)

// current is the name of the symbolic link that says which generation is in use.
const current = "current"

// idLen is the length of a generation's name: decimal, zero padded, so that names sort by age.
const idLen = 8

// ErrNoGeneration says that there is no generation of that name, or none in use yet.
var ErrNoGeneration = errors.New("no such generation")

// Generations is a directory of numbered directories, 00000001 and up, each finished before it got its name, and the
// symbolic link "current" to the one in use. A reader follows "current" and sees files that belong together.
// One process writes; its goroutines may share the value.
type Generations struct {
	root *os.Root
	mu   sync.Mutex // one change at a time
}

// OpenGenerations takes over the directory root and removes what a crash left unfinished in it. The caller keeps root
// open as long as the value is used.
func OpenGenerations(root *os.Root) (*Generations, error) {
	if _, err := Sweep(root, "."); err != nil {
		return nil, err
	}
	return &Generations{root: root}, nil
}

// Stage is a generation being filled.
type Stage struct {
	g    *Generations
	dir  string
	root *os.Root
	done bool
}

// Begin starts a new generation in a directory of mode 0700 that has no number yet. The caller defers [Stage.Abort].
func (g *Generations) Begin() (*Stage, error) {
	dir := "." + tempMark + rand.Text()
	if err := g.root.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("begin generation: %w", err)
	}
	root, err := g.root.OpenRoot(dir)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("begin generation: %w", err), g.root.Remove(dir))
	}
	return &Stage{g: g, dir: dir, root: root}, nil
}

// Root is the directory to fill, by [Write], [Create] or any other way; Commit makes all of it durable.
func (s *Stage) Root() *os.Root { return s.root }

// Commit makes every file of the generation durable, gives it the next number and answers that. The generation is not
// in use before [Generations.Activate].
func (s *Stage) Commit() (string, error) {
	if s.done {
		return "", fmt.Errorf("commit generation: %w", fs.ErrClosed)
	}
	defer s.Abort()
	if err := syncTree(s.root); err != nil {
		return "", fmt.Errorf("commit generation: %w", err)
	}
	s.g.mu.Lock()
	defer s.g.mu.Unlock()
	ids, err := s.g.list()
	if err != nil {
		return "", fmt.Errorf("commit generation: %w", err)
	}
	last := 0
	if len(ids) > 0 {
		last, _ = strconv.Atoi(ids[len(ids)-1]) // isID has seen that it is a number
	}
	id := fmt.Sprintf("%0*d", idLen, last+1)
	if len(id) > idLen {
		return "", fmt.Errorf("commit generation: number %s is taken, and no higher one has %d digits", ids[len(ids)-1], idLen)
	}
	if err := s.g.root.Rename(s.dir, id); err != nil {
		return "", fmt.Errorf("commit generation: %w", err)
	}
	s.done = true
	if err := errors.Join(s.root.Close(), syncDir(s.g.root, ".")); err != nil {
		return "", fmt.Errorf("generation %s is in place but not yet durable: %w", id, err)
	}
	return id, nil
}

// Abort removes an unfinished generation. After [Stage.Commit] or another Abort it does nothing, so it is deferred.
func (s *Stage) Abort() {
	if s.done {
		return
	}
	s.done = true
	// What cannot be removed now is removed by the next OpenGenerations.
	_ = s.root.Close()
	_ = s.g.root.RemoveAll(s.dir)
}

// Current answers the generation in use, or [ErrNoGeneration] before the first [Generations.Activate].
func (g *Generations) Current() (string, error) {
	id, err := g.root.Readlink(current)
	if errors.Is(err, fs.ErrNotExist) {
		return "", ErrNoGeneration
	}
	if err != nil {
		return "", fmt.Errorf("read %s: %w", current, err)
	}
	if !isID(id) {
		return "", fmt.Errorf("%s points to %q: %w", current, id, ErrNoGeneration)
	}
	return id, nil
}

// Activate puts a finished generation, newer or older than the present one, into use. The switch is one rename.
func (g *Generations) Activate(id string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !isID(id) {
		return fmt.Errorf("activate %q: %w", id, ErrNoGeneration)
	}
	if info, err := g.root.Lstat(id); err != nil || !info.IsDir() {
		return fmt.Errorf("activate %q: %w", id, ErrNoGeneration)
	}
	temp := "." + current + tempMark + rand.Text()
	if err := g.root.Symlink(id, temp); err != nil {
		return fmt.Errorf("activate %s: %w", id, err)
	}
	if err := g.root.Rename(temp, current); err != nil {
		return errors.Join(fmt.Errorf("activate %s: %w", id, err), g.root.Remove(temp))
	}
	if err := syncDir(g.root, "."); err != nil {
		return fmt.Errorf("generation %s is in use but the switch is not yet durable: %w", id, err)
	}
	return nil
}

// List answers the finished generations, oldest first.
func (g *Generations) List() ([]string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.list()
}

func (g *Generations) list() ([]string, error) {
	entries, err := fs.ReadDir(g.root.FS(), ".")
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, e := range entries {
		if e.IsDir() && isID(e.Name()) {
			ids = append(ids, e.Name())
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// Prune removes the oldest generations until keep are left. The one in use is never removed and counts.
func (g *Generations) Prune(keep int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	ids, err := g.list()
	if err != nil {
		return fmt.Errorf("prune generations: %w", err)
	}
	used, err := g.Current()
	if err != nil && !errors.Is(err, ErrNoGeneration) {
		return fmt.Errorf("prune generations: %w", err)
	}
	excess := len(ids) - keep
	for _, id := range ids {
		if excess <= 0 {
			break
		}
		if id == used {
			continue
		}
		// First the name, so that a crash in the middle leaves nothing that looks finished.
		temp := "." + id + tempMark + rand.Text()
		if err := g.root.Rename(id, temp); err != nil {
			return fmt.Errorf("prune generation %s: %w", id, err)
		}
		if err := g.root.RemoveAll(temp); err != nil {
			return fmt.Errorf("prune generation %s: %w", id, err)
		}
		excess--
	}
	return nil
}

func isID(name string) bool {
	if len(name) != idLen {
		return false
	}
	for _, c := range []byte(name) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// syncTree makes every regular file and directory below root durable, files before the directory that names them.
func syncTree(root *os.Root) error {
	var dirs []string
	err := fs.WalkDir(root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir():
			dirs = append(dirs, name)
			return nil
		case !e.Type().IsRegular():
			return nil
		}
		f, err := root.Open(name)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
	if err != nil {
		return err
	}
	for _, dir := range slices.Backward(dirs) {
		if err := syncDir(root, path.Clean(dir)); err != nil {
			return err
		}
	}
	return nil
}
