package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"allclear/internal/subsystem"
	"allclear/internal/wire"
)

func TestWhoMayDoWhat(t *testing.T) {
	a := access{agentUID: 990, group: 44, groupRole: subsystem.Viewer}
	cases := []struct {
		caller Caller
		want   subsystem.Role
	}{
		{Caller{UID: 0}, subsystem.Admin},
		{Caller{UID: 990}, subsystem.Admin},
		{Caller{UID: 1000, GID: 44}, subsystem.Viewer},
		{Caller{UID: 1000, GID: 1000, Groups: []int{4, 44}}, subsystem.Viewer},
		{Caller{UID: 1000, GID: 1000, Groups: []int{4, 24}}, ""},
		{Caller{UID: 44, GID: 1000}, ""}, // a uid is no gid
	}
	for _, c := range cases {
		got := a.judge(c.caller)
		if got.Role != c.want || (got.refusal == "") != (c.want != "") {
			t.Errorf("%+v: role %q, refusal %q; want role %q", c.caller, got.Role, got.refusal, c.want)
		}
	}
	none := access{agentUID: 990, group: -1, groupRole: subsystem.Viewer}
	if got := none.judge(Caller{UID: 1000, GID: -1}); got.Role != "" {
		t.Errorf("without the group %+v has role %q", got, got.Role)
	}
}

func TestTheGroupCannotBeAdmin(t *testing.T) {
	if _, err := New(Options{GroupRole: subsystem.Admin, Log: slog.New(slog.DiscardHandler)}); err == nil {
		t.Error("the group was made admin")
	}
}

// childSocket names the socket that this binary, started again as another
// user, asks.
const childSocket = "ALLCLEAR_TEST_ASK"

func TestMain(m *testing.M) {
	if path := os.Getenv(childSocket); path != "" {
		os.Exit(ask(path))
	}
	os.Exit(m.Run())
}

// ask is the child: it prints the status codes of a view, a change and an
// admin's request.
func ask(path string) int {
	c := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	for _, r := range [][2]string{{"GET", "/v1/status"}, {"POST", "/v1/verify"}, {"GET", "/v1/support"}} {
		req, err := http.NewRequest(r[0], "http://agent"+r[1], nil)
		if err != nil {
			return 1
		}
		resp, err := c.Do(req)
		if err != nil {
			_, _ = io.WriteString(os.Stdout, "refused by the kernel\n")
			return 0
		}
		resp.Body.Close()
		_, _ = io.WriteString(os.Stdout, resp.Status[:3]+" ")
	}
	return 0
}

func TestTheKernelSaysWhoCalls(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs: root")
	}
	const group = 54321
	f := start(t, func(s *Server) { s.access.group = group }) // as if the host had the group
	open := func(mode os.FileMode, gid int) {
		dir := filepath.Dir(f.server.opts.Socket)
		for _, err := range []error{
			os.Chown(dir, 0, gid), os.Chmod(dir, mode|0o110), os.Chown(f.server.opts.Socket, 0, gid), os.Chmod(f.server.opts.Socket, mode&^0o111),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for dir := filepath.Dir(filepath.Dir(f.server.opts.Socket)); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	self := filepath.Join(t.TempDir(), "ask")
	b, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(self, b, 0o755); err != nil {
		t.Fatal(err)
	}
	for dir := filepath.Dir(self); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cases := []struct {
		name string
		mode os.FileMode
		cred syscall.Credential
		want string
	}{
		{"root", 0o660, syscall.Credential{}, "200 200 200"},
		{"by primary group", 0o660, syscall.Credential{Uid: 54001, Gid: group}, "200 403 403"},
		{"by supplementary group", 0o660, syscall.Credential{Uid: 54001, Gid: 54001, Groups: []uint32{7, group}}, "200 403 403"},
		{"many groups", 0o660, syscall.Credential{Uid: 54001, Gid: 54001, Groups: manyGroups(group)}, "200 403 403"},
		{"a stranger is kept out by the file's mode", 0o660, syscall.Credential{Uid: 54002, Gid: 54002}, "refused by the kernel"},
		{"a stranger is refused even if the mode were open", 0o777, syscall.Credential{Uid: 54002, Gid: 54002}, "403 403 403"},
	}
	for _, c := range cases {
		open(c.mode, group)
		cmd := exec.CommandContext(t.Context(), self)
		cmd.Env = []string{childSocket + "=" + f.server.opts.Socket}
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &c.cred}
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if got := strings.TrimSpace(string(out)); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// manyGroups does not fit into the first buffer that peerGroups offers.
func manyGroups(last uint32) []uint32 {
	var groups []uint32
	for i := range uint32(100) {
		groups = append(groups, 60000+i)
	}
	return append(groups, last)
}

func TestTheSocketOfADeadAgentIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "s.sock")
	ln, err := listenUnix(path, -1)
	if err != nil {
		t.Fatal(err)
	}
	ln.(*lockedListener).Listener.(*net.UnixListener).SetUnlinkOnClose(false) // as kill -9 leaves it
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Fatalf("the dead agent's socket is not there: %v", err)
	}
	ln, err = listenUnix(path, -1)
	if err != nil {
		t.Fatalf("replace it: %v", err)
	}
	defer ln.Close()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("socket mode %v, %v; want 0660", info.Mode().Perm(), err)
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory mode %v, %v; want 0700", info.Mode().Perm(), err)
	}
}

func TestTheSocketOfALivingAgentIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	ln, err := listenUnix(path, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var inUse *InUseError
	if _, err := listenUnix(path, -1); !errors.As(err, &inUse) || inUse.Path != path {
		t.Errorf("a second agent: %v", err)
	}
	if err := os.Remove(path + ".lock"); err != nil { // somebody tidied up
		t.Fatal(err)
	}
	if _, err := listenUnix(path, -1); !errors.As(err, &inUse) {
		t.Errorf("a second agent without the lock: %v", err)
	}
}

func TestWhatIsNoSocketIsNotRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listenUnix(path, -1); err == nil {
		t.Error("a file was taken for a socket")
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "precious" {
		t.Errorf("the file is now %q, %v", b, err)
	}
}

func TestADirectoryThatAnybodyMayWriteIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if ln, err := listenUnix(filepath.Join(dir, "s.sock"), -1); err == nil {
		t.Error("the socket was made where anybody could replace it", ln.Close())
	}
}

func TestTheTCPDoorIsOnLoopback(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:0", "example.org:0"} {
		var not *NotLoopbackError
		if ln, err := listenTCP(addr); !errors.As(err, &not) {
			t.Errorf("%s: listener %v, error %v", addr, ln, err)
		}
	}
	for _, addr := range []string{"127.0.0.1:0", "localhost:0", "127.9.9.9:0"} {
		ln, err := listenTCP(addr)
		if err != nil {
			t.Errorf("%s: %v", addr, err)
			continue
		}
		ln.Close()
	}
}

func TestTheTCPDoor(t *testing.T) {
	f := start(t)
	cases := []struct {
		path, host string
		status     int
	}{
		{"/metrics", "", 200},
		{"/metrics", "localhost", 200},
		{"/metrics", "[::1]:9191", 200},
		{"/metrics", "rebound.example", 421},
		{"/healthz", "rebound.example:9191", 421},
		{"/v1/status", "", 404},
		{"/v1/events", "", 404},
		{"/v1/support", "", 404},
	}
	for _, c := range cases {
		req, err := http.NewRequest("GET", "http://"+f.server.Addr()+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.host != "" {
			req.Host = c.host
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != c.status {
			t.Errorf("%s for host %q: %s, want %d", c.path, c.host, resp.Status, c.status)
		}
	}
}

func TestHealthIsHonest(t *testing.T) {
	f := start(t)
	health := func() (int, wire.Health) {
		t.Helper()
		resp, text := f.do("GET", "/healthz", "")
		var h wire.Health
		if err := json.Unmarshal([]byte(text), &h); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		return resp.StatusCode, h
	}
	if code, h := health(); f.agent.Alive().IsZero() && (code != 503 || h.OK) {
		t.Errorf("before the journal answered: %d %+v", code, h)
	}
	f.eventually("the journal ticks", func() bool { return !f.agent.Alive().IsZero() })
	if code, h := health(); code != 200 || !h.OK || len(h.Problems) != 0 {
		t.Errorf("well: %d %+v", code, h)
	}
	f.raise()
	if code, _ := health(); code != 200 {
		t.Errorf("a fault is no sickness of the agent: %d", code)
	}
	f.rec.failing.Store(true)
	if code, h := health(); code != 503 || h.OK || !strings.Contains(strings.Join(h.Problems, " "), "no space left") {
		t.Errorf("the journal fails: %d %+v", code, h)
	}
	f.rec.failing.Store(false)
	now := f.agent.Alive().Add(tickLate + tickLate)
	if h := f.server.health(now); h.OK {
		t.Errorf("no tick for twice the limit: %+v", h)
	}
	late := f.server.health(time.Now().Add(2 * time.Hour)) // every look is due by then, and none has started
	if !strings.Contains(strings.Join(late.Problems, "\n"), "no look has started for 2h0m") {
		t.Errorf("a scheduler that stands still: %+v", late)
	}
}
