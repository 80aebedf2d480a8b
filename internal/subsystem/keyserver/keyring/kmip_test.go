package keyring_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"allclear/internal/envelope"
	"allclear/internal/subsystem/keyserver/keyring"
	"allclear/kmip"
	"allclear/kmip/kmiptest"
)

// place tells another process where the servers are and who it is.
type place struct {
	Addresses     []string
	CA, Cert, Key []byte
}

// real is a master with a clone, spoken to over mutual TLS.
type real struct {
	master, clone *kmiptest.Server
	replication   *kmiptest.Replication
	place         place
	file          string // holds place
}

func startReal(t *testing.T) *real {
	t.Helper()
	pki, err := kmiptest.NewPKI("keyring test")
	if err != nil {
		t.Fatal(err)
	}
	issue := func(name string) *kmiptest.Identity {
		id, err := pki.Issue(kmiptest.CertRequest{CommonName: name})
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	start := func(role kmiptest.Role) *kmiptest.Server {
		s, err := kmiptest.Start(t.Context(), kmiptest.Options{Certificate: issue("server").TLS, ClientCAs: pki.Pool(), Role: role})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	w := &real{master: start(kmiptest.Master), clone: start(kmiptest.Clone)}
	if w.replication, err = w.clone.Follow(w.master, 0); err != nil {
		t.Fatal(err)
	}
	client := issue("node1")
	w.place = place{[]string{w.master.Address(), w.clone.Address()}, pki.RootPEM, client.CertPEM, client.KeyPEM}
	b, err := json.Marshal(w.place)
	if err != nil {
		t.Fatal(err)
	}
	w.file = filepath.Join(t.TempDir(), "place")
	if err := os.WriteFile(w.file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return w
}

// connect makes the rig use the servers that the file tells of.
func (r *rig) connect(file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var p place
	if err := json.Unmarshal(b, &p); err != nil {
		return err
	}
	cert, err := tls.X509KeyPair(p.Cert, p.Key)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(p.CA) {
		return errors.New("no CA")
	}
	for i, addr := range p.Addresses {
		c := &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS12}
		r.real = append(r.real, keyring.NewKMIPServer(fmt.Sprintf("ks%d", i+1), func(ctx context.Context) (*kmip.Client, error) {
			return kmip.Dial(ctx, addr, c, kmip.Options{Timeout: 5 * time.Second})
		}, 5*time.Second))
	}
	return nil
}

func (r *rig) close() {
	for _, s := range r.real {
		_ = s.(*keyring.KMIPServer).Close()
	}
	_ = r.root.Close()
}

// keys answers what exists on either server.
func (w *real) keys() (map[string][]byte, error) {
	out := map[string][]byte{}
	for _, s := range []*kmiptest.Server{w.master, w.clone} {
		for _, o := range s.Objects() {
			if len(o.Material) > 0 {
				out[o.ID] = o.Material
			}
		}
	}
	return out, nil
}

// on answers a rig on the servers whose state lies in dir.
func (w *real) on(t *testing.T, dir string, fail func(string) error) *rig {
	t.Helper()
	r, err := open(dir, fail)
	if err == nil {
		err = r.connect(w.file)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.exists = w.keys
	return r
}

// begin has the first key in use.
func (w *real) begin(t *testing.T) *rig {
	t.Helper()
	r := w.on(t, memoryDir(t), nil)
	r.rekey(t)
	for id, secret := range things() {
		if err := r.keeper.Protect(t.Context(), id, []byte(secret)); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func TestARenewalOnRealServers(t *testing.T) {
	w := startReal(t)
	r := w.begin(t)
	defer r.close()
	old := *r.status(t).Current
	if o, ok := w.clone.Find(old.UID); !ok || o.State != kmip.StateActive || len(o.Material) != 32 {
		t.Errorf("the first key on the clone: %+v, %v", o.State, ok)
	}
	w.replication.Hold()
	if _, lag := errors.AsType[*keyring.LagError](r.rekeyer.Prepare(t.Context())); !lag {
		t.Error("a key that the clone does not have was prepared")
	}
	w.replication.Release()
	r.rekey(t)
	r.allOpen(t)
	if got := r.keysThere(t); len(got) != 1 || got[0] != r.status(t).Current.UID {
		t.Errorf("keys %q, want the new one alone", got)
	}
	if seen := w.master.Seen(); seen.Operations["Create"] != 2 || seen.Operations["ReKey"] != 0 {
		t.Errorf("operations %v, want Create twice and never ReKey", seen.Operations)
	}
	w.master.Down()
	if _, in, err := r.keeper.Open(t.Context(), "backup/etc"); err != nil || in.From != "ks2" {
		t.Errorf("without the master: from %q, %v", in.From, err)
	}
	w.clone.Down()
	if _, in, err := r.keeper.Open(t.Context(), "backup/etc"); err != nil || !in.Cached {
		t.Errorf("without any server: cached %v, %v", in.Cached, err)
	}
	if err := r.keeper.Protect(t.Context(), "secret/new", []byte("x")); err == nil {
		t.Error("without any server something new was protected")
	}
}

// TestRealServersMayFailAtEveryCall lets each operation of each server go wrong once, in each way.
func TestRealServersMayFailAtEveryCall(t *testing.T) {
	kinds := []kmiptest.Kind{kmiptest.Refuse, kmiptest.LoseAnswer, kmiptest.Hangup, kmiptest.Garbage, kmiptest.Missing, kmiptest.WrongKey}
	for _, kind := range kinds {
		for _, op := range []string{"Create", "Locate", "GetAttributes", "Activate", "Get", "Revoke", "Destroy", "Get of the clone"} {
			op, ofClone := strings.CutSuffix(op, " of the clone")
			if kind == kmiptest.WrongKey && op != "Get" {
				continue
			}
			for _, goal := range []string{"finish", "cancel"} {
				w := startReal(t)
				r := w.begin(t)
				srv := w.master
				if ofClone {
					srv = w.clone
				}
				if err := srv.Break(kmiptest.Fault{Kind: kind, Operation: op, Times: 1}); err != nil {
					t.Fatal(err)
				}
				_ = r.pursue(t.Context(), goal) // another server, or another try, may have helped
				when := fmt.Sprintf("%s of %s, clone %v", kind, op, ofClone)
				r.survives(t, when)
				srv.ClearFaults()
				r.close()
				r = w.on(t, r.dir, nil)
				r.finishes(t, goal, when)
				r.close()
				w.stop()
			}
		}
	}
}

// TestKillAtEveryStepWithRealServers kills the process before each of its writes and phases while it renews a key on
// real servers.
func TestKillAtEveryStepWithRealServers(t *testing.T) {
	for _, goal := range []string{"finish", "cancel"} {
		for n := 1; ; n++ {
			w := startReal(t)
			r := w.begin(t)
			r.close()
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(
				os.Environ(), childDir+"="+r.dir, childStep+"="+strconv.Itoa(n), childGoal+"="+goal, childReal+"="+w.file,
			)
			out, err := cmd.CombinedOutput()
			if err == nil {
				if n < 20 {
					t.Errorf("%s: there were only %d steps", goal, n-1)
				}
				w.stop()
				break
			}
			if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Fatalf("step %d: the child ended by %v: %s", n, err, out)
			}
			r = w.on(t, r.dir, nil)
			when := fmt.Sprintf("%s, killed at step %d", goal, n)
			r.survives(t, when)
			r.finishes(t, goal, when)
			r.close()
			w.stop()
		}
	}
}

func (w *real) stop() {
	_ = w.clone.Close()
	_ = w.master.Close()
}

func TestAnActiveKeyStaysActiveAndADestroyedOneDestroyed(t *testing.T) {
	w := startReal(t)
	r := w.on(t, memoryDir(t), nil)
	defer r.close()
	ks := r.real[0]
	uid, err := ks.Create(t.Context(), "twice")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ks.Create(t.Context(), "twice"); err == nil || errors.Is(err, keyring.ErrNotMade) {
		t.Errorf("a name that is taken: %v, want an error that does not deny the key", err)
	}
	if err := errors.Join(ks.Activate(t.Context(), uid), ks.Activate(t.Context(), uid)); err != nil {
		t.Error(err)
	}
	if err := errors.Join(ks.Destroy(t.Context(), uid), ks.Destroy(t.Context(), uid), ks.Destroy(t.Context(), "never-was")); err != nil {
		t.Error(err)
	}
	if _, err := ks.Get(t.Context(), uid); !errors.Is(err, envelope.ErrNoKey) && !errors.Is(err, keyring.ErrRefused) {
		t.Errorf("Get of a destroyed key = %v", err)
	}
	w.master.Down()
	if _, err := ks.Get(t.Context(), uid); errors.Is(err, envelope.ErrNoKey) || errors.Is(err, keyring.ErrRefused) || err == nil {
		t.Errorf("Get from a server that is down = %v, which sounds like its own answer", err)
	}
	if _, err := ks.Create(t.Context(), "third"); !errors.Is(err, keyring.ErrNotMade) {
		t.Errorf("Create on a server that is down = %v, want ErrNotMade", err)
	}
}
