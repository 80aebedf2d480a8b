package app_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"allclear/internal/api/client"
	"allclear/internal/app"
	"allclear/internal/cli"
	"allclear/internal/fault"
	"allclear/internal/journal"
	"allclear/internal/lab"
)

// systemCommands work the host that a story runs on: its disks, its clock, and
// files that hang.
var systemCommands = map[string]command{
	"clock": cmdClock, "damage": cmdDamage, "dense": cmdDense, "disk": cmdDisk, "eventually": cmdEventually,
	"hang": cmdHang, "certs": cmdCerts, "watchcerts": cmdWatchCerts,
}

// clockEnv names the file that an agent's clock is moved by.
const clockEnv = "ALLCLEAR_STORY_CLOCK"

// program is the program of the stories: the real one. A story cannot set the
// machine's clock, so an agent may be given one that the story moves.
func program() cli.Program {
	p := cli.Whole()
	if file := os.Getenv(clockEnv); file != "" {
		p.Run = func(ctx context.Context, o app.Options) error {
			machine, err := journal.SystemClock()
			if err != nil {
				return err
			}
			o.Clock = func() fault.Clock { return moved(machine(), file) }
			return app.Run(ctx, o)
		}
	}
	return p
}

// offsets are how far a story's clocks are ahead of the machine's.
type offsets struct{ Wall, Boot time.Duration }

func readOffsets(file string) (o offsets, err error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return o, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &o)
	}
	return o, err
}

func moved(c fault.Clock, file string) fault.Clock {
	o, err := readOffsets(file)
	if err != nil {
		panic(err) // the story is wrong
	}
	c.Wall, c.Boot = c.Wall.Add(o.Wall), c.Boot+o.Boot
	return c
}

// clock set D sets the wall clock D ahead, as who sets a clock does; clock pass
// D lets D go by on all clocks, as a suspended machine does.
func cmdClock(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: clock set|pass DURATION")
	}
	by, err := time.ParseDuration(args[1])
	ts.Check(err)
	file := ts.MkAbs("clock")
	o, err := readOffsets(file)
	ts.Check(err)
	o.Wall += by
	if args[0] == "pass" {
		o.Boot += by
	}
	data, err := json.Marshal(o)
	ts.Check(err)
	ts.Check(os.WriteFile(file+".new", data, 0o600))
	ts.Check(os.Rename(file+".new", file))
}

// damage PATTERN overwrites a part of every page of the files that match, as a
// dying disk does.
func cmdDamage(ts *testscript.TestScript, neg bool, args []string) {
	names, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(names) == 0 {
		ts.Fatalf("nothing matches %s", args[0])
	}
	for _, name := range names {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		ts.Check(err)
		info, err := f.Stat()
		ts.Check(err)
		for at := int64(100); at < info.Size(); at += 512 {
			_, err := f.WriteAt([]byte("\xa5\xa5\xa5\xa5\xa5\xa5\xa5\xa5"), at)
			ts.Check(err)
		}
		ts.Check(f.Close())
	}
}

// dense reads the journal of the stopped agent from end to end: no event is
// missing, the chain is whole, and the beliefs are what the events lead to.
func cmdDense(ts *testscript.TestScript, neg bool, args []string) {
	ctx := context.Background()
	store, err := journal.Open(ctx, journal.Options{
		Dir: ts.MkAbs("state/journal"), Node: "audit", Catalogue: app.Catalogue(), BallastBytes: -1,
	})
	ts.Check(err)
	audit, err := store.Verify(ctx)
	ts.Check(errors.Join(err, store.Close()))
	ts.Logf("%d events, %d faults", audit.Events, audit.Faults)
	if audit.Events < 3 || audit.Faults < 1 {
		ts.Fatalf("the journal has %d events of %d faults: nothing was audited", audit.Events, audit.Faults)
	}
}

// disk make DIR SIZE [INODES] mounts a file system of that size; disk fill DIR
// [LEFT] fills it but for so many bytes; disk crowd DIR uses up its inodes; disk
// free DIR takes back what filled it.
func cmdDisk(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: disk make|fill|crowd|free DIR ...")
	}
	dir, filler := ts.MkAbs(args[1]), filepath.Join(ts.MkAbs(args[1]), "filler")
	rest := append(args[2:], "0", "0")
	switch args[0] {
	case "make":
		ts.Check(os.MkdirAll(dir, 0o700))
		ts.Check(syscall.Mount("story", dir, "tmpfs", 0, "size="+rest[0]+",nr_inodes="+rest[1]))
		ts.Defer(func() { ts.Check(syscall.Unmount(dir, syscall.MNT_DETACH)) })
	case "fill":
		left, err := strconv.ParseUint(rest[0], 10, 64)
		ts.Check(err)
		ts.Check(fillDisk(filler, left))
	case "crowd":
		ts.Check(os.Mkdir(filler, 0o700))
		for i := 0; ; i++ {
			err := os.WriteFile(filepath.Join(filler, strconv.Itoa(i)), nil, 0o600)
			if errors.Is(err, syscall.ENOSPC) {
				return
			}
			ts.Check(err)
		}
	case "free":
		ts.Check(os.RemoveAll(filler))
	}
}

// fillDisk leaves so many bytes free, rounded to blocks.
func fillDisk(filler string, left uint64) error {
	f, err := os.OpenFile(filler, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	block := make([]byte, 4096)
	for {
		var st syscall.Statfs_t
		if err := syscall.Fstatfs(int(f.Fd()), &st); err != nil {
			return err
		}
		if st.Bavail*uint64(st.Bsize) <= left {
			return nil
		}
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) && left == 0 {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// hang DIR puts a file system over DIR that answers nothing, as a network file
// system does whose server is gone: who opens a file there hangs. ! hang DIR
// takes it away again.
func cmdHang(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: [!] hang DIR")
	}
	s, dir := storyOf(ts), ts.MkAbs(args[0])
	if neg {
		ts.Check(s.servers[dir].(*hung).end())
		return
	}
	h := &hung{dir: dir}
	var err error
	h.device, err = os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	ts.Check(err)
	ts.Check(syscall.Mount("story", dir, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", h.device.Fd())))
	s.servers[dir] = h
	ts.Defer(func() { ts.Check(h.end()) })
}

// hung is a FUSE file system that nobody serves.
type hung struct {
	dir    string
	device *os.File
}

// end fails all that waits for an answer, and unmounts.
func (h *hung) end() error {
	if h.device == nil {
		return nil
	}
	err := errors.Join(h.device.Close(), syscall.Unmount(h.dir, syscall.MNT_DETACH))
	h.device = nil
	return err
}

// certs DIR N writes N certificates that are well: DIR/1.pem and so on.
func cmdCerts(ts *testscript.TestScript, neg bool, args []string) {
	dir, n := ts.MkAbs(args[0]), number(ts, args[1])
	pair, err := storyOf(ts).lab.Issue(lab.CertOptions{NotAfter: time.Now().Add(365 * 24 * time.Hour)})
	ts.Check(err)
	ts.Check(os.MkdirAll(dir, 0o700))
	for i := 1; i <= n; i++ {
		ts.Check(os.WriteFile(filepath.Join(dir, strconv.Itoa(i)+".pem"), pair.CertPEM, 0o600))
	}
}

// watchcerts FILE DIR N ends the configuration FILE with a watch over DIR/1.pem
// to DIR/N.pem.
func cmdWatchCerts(ts *testscript.TestScript, neg bool, args []string) {
	name, dir, n := ts.MkAbs(args[0]), ts.MkAbs(args[1]), number(ts, args[2])
	text := ts.ReadFile(name) + "watch:\n  certificates:\n"
	for i := 1; i <= n; i++ {
		text += fmt.Sprintf("    - {name: c%d, path: %s/%d.pem}\n", i, dir, i)
	}
	ts.Check(os.WriteFile(name, []byte(text), 0o600))
}

func number(ts *testscript.TestScript, word string) int {
	n, err := strconv.Atoi(word)
	ts.Check(err)
	return n
}

// eventually CODE@RESOURCE STATE waits, up to two minutes, for what only time
// brings.
func cmdEventually(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: eventually CODE@RESOURCE STATE")
	}
	c := client.New(storyOf(ts).socket)
	defer c.Close()
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		f, err := c.Fault(context.Background(), args[0])
		if err == nil && string(f.State) == args[1] {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			ts.Fatalf("%s is %q (%v), not %s", args[0], f.State, err, args[1])
		}
	}
}
