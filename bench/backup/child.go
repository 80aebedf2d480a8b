package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"time"

	"filippo.io/age"

	"allclear/internal/sshpolicy"
	"allclear/internal/subsystem/backup/archive"
	"allclear/internal/subsystem/backup/extract"
	"allclear/internal/subsystem/backup/repository"
	"allclear/internal/subsystem/backup/source"
	"allclear/internal/subsystem/backup/stream"
)

// childArg makes this program do one job of ours and end: as a process of its
// own it is timed like the others, and its memory is its own.
const childArg = "do-one-job"

// job is what our side does once.
type job struct {
	Do      string // dial, save, archive, init, backup, restore
	Addr    string
	User    string
	Key     []byte // private, PEM
	Pin     string
	Folder  string // at the server
	Source  string // what is sent
	Dest    string // where a restore goes
	Profile string // beginning of the names of profiles, or ""
}

// outcome is what a process has to tell.
type outcome struct {
	Peak       int64         // bytes resident
	Busy       time.Duration // of the processor
	Sent       int64
	Negotiated sshpolicy.Negotiated
}

// memoryLimit is the agent's own, in bytes.
const memoryLimit = 200 << 20

// password opens the repositories of both programs.
const password = "a password of the benchmark"

// ours runs one job in a process of its own.
func (b *bench) ours(ctx context.Context, j job) (outcome, error) {
	j.User, j.Key, j.Pin = b.user, b.key, b.pin
	if j.Addr == "" {
		j.Addr = b.sshd.Addr()
	}
	if b.o.profile != "" {
		b.jobs++
		j.Profile = filepath.Join(b.o.profile, fmt.Sprintf("%03d-%s-%s", b.jobs, j.Do, filepath.Base(j.Source)))
	}
	in, err := json.Marshal(j)
	if err != nil {
		return outcome{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return outcome{}, err
	}
	cmd := exec.CommandContext(ctx, self, childArg)
	cmd.Stdin = strings.NewReader(string(in))
	var words strings.Builder
	cmd.Stderr = &words
	out, err := cmd.Output()
	if err != nil {
		return outcome{}, fmt.Errorf("%s: %w: %s", j.Do, err, words.String())
	}
	var o outcome
	err = json.Unmarshal(out, &o)
	o.Busy = busy(cmd)
	return o, err
}

// child does the job that is read.
func child(in io.Reader, out io.Writer) (err error) {
	var j job
	if err = json.NewDecoder(in).Decode(&j); err != nil {
		return err
	}
	if j.Profile != "" {
		done, err := profile(j.Profile)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, done()) }()
	}
	debug.SetMemoryLimit(memoryLimit)
	ctx := context.Background() // this is main's
	s, err := j.dial(ctx)
	if err != nil {
		return err
	}
	var o outcome
	o.Negotiated = s.Negotiated()
	files, err := s.Files(ctx, j.Folder, sshpolicy.ProtocolSFTP)
	if err == nil {
		err = errors.Join(j.do(ctx, files), files.Close())
	}
	if err = errors.Join(err, s.Close()); err != nil {
		return err
	}
	o.Sent, _ = s.Traffic()
	if o.Peak, err = peak(); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(o)
}

// profile starts a processor profile; done ends it and writes one of what was
// allocated.
func profile(name string) (done func() error, err error) {
	cpu, err := os.Create(name + ".cpu")
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return nil, errors.Join(err, cpu.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		memory, err := os.Create(name + ".memory")
		if err == nil {
			err = errors.Join(pprof.Lookup("allocs").WriteTo(memory, 0), memory.Close())
		}
		return errors.Join(err, cpu.Close())
	}, nil
}

func (j *job) dial(ctx context.Context) (*sshpolicy.Session, error) {
	policy, err := sshpolicy.Builtin(sshpolicy.PolicyUCSM)
	if err != nil {
		return nil, err
	}
	key, err := sshpolicy.ParseKey(j.Key, nil)
	if err != nil {
		return nil, err
	}
	pin, err := sshpolicy.ParsePin(j.Pin)
	if err != nil {
		return nil, err
	}
	s, _, err := sshpolicy.Dial(ctx, sshpolicy.Target{Name: "bench", Addr: j.Addr}, sshpolicy.DialOptions{Options: sshpolicy.Options{
		Policy: policy, Pins: []sshpolicy.Pin{pin}, Login: &sshpolicy.Login{User: j.User, Key: key},
	}})
	return s, err
}

func (j *job) do(ctx context.Context, files sshpolicy.Files) error {
	switch j.Do {
	case "dial":
		return nil
	case "save":
		return j.save(ctx, files)
	case "archive":
		return j.archive(ctx, files)
	case "init":
		// What the agent takes for its random passwords; restic opens the repository with it too.
		_, err := repository.Init(ctx, files, []byte(password), repository.KDF{N: 2048, R: 8, P: 1}, identity())
		return err
	case "backup":
		return j.backup(ctx, files)
	case "restore":
		return j.restore(ctx, files)
	}
	return fmt.Errorf("no job %q", j.Do)
}

// save stores one file as it is.
func (j *job) save(ctx context.Context, files sshpolicy.Files) error {
	f, err := os.Open(filepath.Join(j.Source, "data"))
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil {
		_, err = files.Save(ctx, "data", f, info.Size())
	}
	return errors.Join(err, f.Close())
}

// archive makes and sends an archive, as a job of kind archive does.
func (j *job) archive(ctx context.Context, files sshpolicy.Files) error {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return err
	}
	tree, err := source.New(source.Options{Roots: []string{j.Source}})
	if err != nil {
		return err
	}
	out, in := io.Pipe()
	made := make(chan error, 1)
	go func() { // awaited through made
		w, err := archive.NewWriter(in, id.Recipient().String())
		if err == nil {
			err = errors.Join(w.Tree(ctx, tree, &source.Report{}), w.Close())
		}
		_ = in.CloseWithError(err) // never fails
		made <- err
	}()
	_, err = files.Save(ctx, "data.tar.zst.age", out, -1)
	if err != nil {
		_ = out.CloseWithError(err) // never fails
	}
	return errors.Join(<-made, err)
}

func identity() repository.Options {
	return repository.Options{Who: repository.Identity{Hostname: "bench", Username: "bench"}, Program: "allclear", Compression: repository.CompressFastest}
}

func (j *job) backup(ctx context.Context, files sshpolicy.Files) error {
	r, err := repository.Open(ctx, files, []byte(password), identity())
	if err != nil {
		return err
	}
	tree, err := source.New(source.Options{Roots: []string{j.Source}})
	if err != nil {
		return err
	}
	report := &source.Report{}
	_, err = r.Backup(ctx, repository.Files(tree, report), repository.BackupOptions{Paths: tree.Roots()})
	if err == nil && report.Total() > 0 {
		err = fmt.Errorf("%d things were left out", report.Total())
	}
	return err
}

// restore goes the way of "allclear backup restore": the agent's stream, and the
// writing of files behind it. Here both ends are in one process.
func (j *job) restore(ctx context.Context, files sshpolicy.Files) error {
	r, err := repository.Open(ctx, files, []byte(password), identity())
	if err != nil {
		return err
	}
	rd, err := r.Read(ctx, true)
	if err != nil {
		return err
	}
	snap, err := rd.Snapshot("latest")
	if err != nil {
		return errors.Join(err, rd.Close(ctx))
	}
	out, in, err := os.Pipe()
	if err != nil {
		return errors.Join(err, rd.Close(ctx))
	}
	sent := make(chan error, 1)
	go func() { // awaited through sent
		_, err := stream.Write(in, stream.Snapshot{ID: snap.ID.String()}, entries(rd.Restore(ctx, snap, repository.RestoreOptions{})))
		sent <- errors.Join(err, in.Close())
	}()
	report, err := receive(ctx, out, j.Dest)
	if err == nil && report.Missing > 0 {
		err = fmt.Errorf("%d files are missing", report.Missing)
	}
	return errors.Join(err, out.Close(), <-sent, rd.Close(ctx))
}

func receive(ctx context.Context, in io.Reader, dest string) (*extract.Report, error) {
	r, err := stream.NewReader(in)
	if err != nil {
		return nil, err
	}
	return extract.To(ctx, dest, r.Entries(), extract.Options{})
}

// entries turns what the repository has into what a stream carries.
func entries(items func(func(*repository.Item, error) bool)) extract.Stream {
	return func(yield func(*extract.Entry, error) bool) {
		for it, err := range items {
			if err != nil {
				yield(nil, err)
				return
			}
			e := &extract.Entry{Path: strings.TrimPrefix(it.Path, "/"), Meta: it.Node.Meta, HardLink: strings.TrimPrefix(it.HardLink, "/")}
			if it.Node.Type == source.Regular && e.HardLink == "" && it.Node.Size > 0 {
				e.Content = it
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

// peak is the most memory that this process had resident, in bytes.
func peak() (int64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kb << 10, err
		}
	}
	return 0, errors.New("/proc/self/status has no VmHWM")
}
