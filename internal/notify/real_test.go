package notify_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"allclear/internal/fault"
	"allclear/internal/lab"
	"allclear/internal/notify"
	"allclear/internal/wire"
)

// program is a foreign server that the test started and ends by its own pid.
type program struct {
	cmd *exec.Cmd
	out *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func startProgram(t *testing.T, name string, args ...string) *program {
	t.Helper()
	lab.Need(t, name)
	p := &program{cmd: exec.Command(lab.Program(name), args...), out: &lockedBuffer{}}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	return p
}

func (p *program) kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

// freePort is free now; nobody else on loopback is expected to take it.
func freePort(t *testing.T, network string) string {
	t.Helper()
	if network == "udp" {
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.LocalAddr().String()
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func writeFile(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const rsyslogConf = `
module(load="imtcp")
module(load="imudp")
module(load="mmpstrucdata")
template(name="line" type="string" string="%%pri%%\t%%msgid%%\t%%hostname%%\t%%app-name%%\t%%$!rfc5424-sd%%\t%%msg:::json%%\n")
ruleset(name="all") {
  action(type="mmpstrucdata")
  action(type="omfile" file="%[1]s/out" template="line" asyncWriting="off" flushOnTXEnd="on")
}
input(type="imtcp" address="127.0.0.1" port="0" listenPortFileName="%[1]s/port" ruleset="all")
input(type="imudp" address="127.0.0.1" port="%[2]s" ruleset="all")
`

// rsyslog is Debian's rsyslogd, which parses RFC 5424 and its structured data.
func rsyslog(t *testing.T, network string) *post {
	t.Helper()
	lab.Need(t, "rsyslogd")
	dir := t.TempDir()
	udp := freePort(t, "udp")
	_, port, _ := net.SplitHostPort(udp)
	conf := writeFile(t, filepath.Join(dir, "conf"), fmt.Sprintf(rsyslogConf, dir, port))
	p := startProgram(t, "rsyslogd", "-n", "-f", conf, "-i", filepath.Join(dir, "pid"))
	address := ""
	await(t, "rsyslogd", func() bool {
		if p.cmd.ProcessState != nil {
			t.Fatalf("rsyslogd ended: %s", p.out)
		}
		b, err := os.ReadFile(filepath.Join(dir, "port"))
		address = "127.0.0.1:" + strings.TrimSpace(string(b))
		return err == nil && len(b) > 0
	})
	if network == "udp" {
		address = udp
	}
	post := syslogPost(t, network, address, nil)
	post.took = func(t *testing.T) []taken { return readRsyslog(t, filepath.Join(dir, "out")) }
	return post
}

func readRsyslog(t *testing.T, file string) []taken {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var all []taken
	for line := range strings.Lines(string(b)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 6 || f[2] != "n1" || f[3] != "allclear" {
			t.Fatalf("rsyslogd read %q", line)
		}
		var sd struct {
			Alarm struct{ Resource, PerceivedSeverity, ProbableCause string }
			Ours  struct{ Code, Drill string } `json:"allclear@32473"`
		}
		if f[4] != "" {
			if err := json.Unmarshal([]byte(f[4]), &sd); err != nil {
				t.Fatalf("structured data %q: %v", f[4], err)
			}
		}
		all = append(all, taken{f[1], sd.Ours.Code, sd.Alarm.Resource, sd.Alarm.PerceivedSeverity, sd.Ours.Drill == "true"})
	}
	return all
}

func TestRsyslogReadsUsOverTCP(t *testing.T) {
	contract(t, func(t *testing.T) *post { return rsyslog(t, "tcp") })
}

func TestRsyslogReadsUsOverUDP(t *testing.T) {
	contract(t, func(t *testing.T) *post { return rsyslog(t, "udp") })
}

func TestSnmptrapdReadsUsByOurMIB(t *testing.T) {
	contract(t, func(t *testing.T) *post {
		lab.Need(t, "snmptrapd")
		dir := fastDir(t) // snmptrapd takes a comma in the path for a list
		addr := freePort(t, "udp")
		conf := writeFile(t, filepath.Join(dir, "conf"), "disableAuthorization yes\n")
		p := startProgram(t, "snmptrapd", "-f", "-n", "-Lo", "-C", "-c", conf, "-M", "testdata/mibs:../../dist/mibs",
			"-m", "ALLCLEAR-MIB", "-F", `%v\n`, "-Oa", "udp:"+addr)
		await(t, "snmptrapd", func() bool { return strings.Contains(p.out.String(), "NET-SNMP version") })
		if strings.Contains(p.out.String(), "ALLCLEAR-MIB.txt") {
			t.Fatalf("it finds fault with our MIB: %s", p.out)
		}
		return snmpPost(t, addr, func(t *testing.T) []taken { return readSnmptrapd(t, p.out.String()) })
	})
}

func readSnmptrapd(t *testing.T, out string) []taken {
	t.Helper()
	_, out, _ = strings.Cut(out, "\n") // its version
	var all []taken
	for line := range strings.Lines(out) {
		if !strings.HasSuffix(line, "\n") {
			break // not yet written out
		}
		var r taken
		for v := range strings.SplitSeq(strings.TrimSuffix(line, "\n"), "\t") {
			name, value, _ := strings.Cut(v, " = ")
			kind, value, _ := strings.Cut(value, ": ")
			switch {
			case kind == "OID":
				r.kind = strings.ToLower(strings.TrimPrefix(strings.TrimPrefix(value, "ALLCLEAR-MIB::allclear"), "Fault"))
			case name == "ALLCLEAR-MIB::allclearFaultCode.0":
				r.code = value
			case name == "ALLCLEAR-MIB::allclearFaultResource.0":
				r.resource = value
			case name == "ALLCLEAR-MIB::allclearFaultSeverity.0":
				r.severity, _, _ = strings.Cut(value, "(")
			case name == "ALLCLEAR-MIB::allclearFaultDrill.0":
				r.drill = strings.HasPrefix(value, "true")
			}
		}
		if r.kind == "" {
			t.Fatalf("snmptrapd read %q", line)
		}
		all = append(all, r)
	}
	return all
}

const alertmanagerConf = `
route: {receiver: none, group_wait: 1s}
receivers: [{name: none}]
`

// alertmanager is Debian's prometheus-alertmanager.
func alertmanager(t *testing.T, addr string) *program {
	t.Helper()
	lab.Need(t, "prometheus-alertmanager")
	dir := t.TempDir()
	conf := writeFile(t, filepath.Join(dir, "conf"), alertmanagerConf)
	p := startProgram(t, "prometheus-alertmanager", "--config.file="+conf, "--storage.path="+dir,
		"--web.listen-address="+addr, "--cluster.listen-address=")
	await(t, "Alertmanager", func() bool {
		resp, err := http.Get("http://" + addr + "/-/ready")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return p
}

// firing is what Alertmanager holds as active: CODE@RESOURCE severity, once for
// each alert.
func firing(t *testing.T, addr string) string {
	t.Helper()
	resp, err := http.Get("http://" + addr + "/api/v2/alerts?active=true")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var alerts []struct {
		Labels map[string]string
		EndsAt time.Time
	}
	if err := json.NewDecoder(resp.Body).Decode(&alerts); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, a := range alerts {
		all = append(all, a.Labels["alertname"]+"@"+a.Labels["resource"]+" "+a.Labels["severity"])
		if left := time.Until(a.EndsAt); left < 23*time.Hour {
			t.Errorf("%v ends in %s: a dead agent would look like a clear", a.Labels, left)
		}
	}
	return strings.Join(all, ", ")
}

func TestAlertmanagerHoldsExactlyWhatIsTrue(t *testing.T) {
	addr := freePort(t, "tcp")
	am := alertmanager(t, addr)
	p := alertmanagerPost(t, "http://"+addr, nil)
	w := courierOf(t, p.config)
	is := func(v fault.Verdict, s fault.Severity, want string) {
		t.Helper()
		w.is(t.Context(), r1, v, s)
		await(t, "Alertmanager to hold "+strconv.Quote(want), func() bool { return firing(t, addr) == want })
	}
	is(fault.Present, fault.Major, "test/plain@r1 major")
	is(fault.Present, fault.Critical, "test/plain@r1 critical")
	am.kill() // it forgets everything
	alertmanager(t, addr)
	if got := firing(t, addr); got != "" {
		t.Fatalf("after its restart it holds %s", got)
	}
	w.notifier.Configure([]notify.Config{p.config}) // the first round tells again what is told every minute
	await(t, "the reminder", func() bool { return firing(t, addr) == "test/plain@r1 critical" })
	is(fault.Absent, 0, "")
}

func TestAlertmanagerIsBroughtInLineByAResync(t *testing.T) {
	addr := freePort(t, "tcp")
	alertmanager(t, addr)
	p := alertmanagerPost(t, "http://"+addr, nil)
	now := time.Now()
	raise := func(node, resource string) notify.Message {
		return notify.Message{
			Type: notify.Raise, ID: node + "/e/1", Node: node, At: now,
			Fault: wire.Fault{Code: plain, Resource: resource, Severity: fault.Minor, RaisedAt: &now},
		}
	}
	tell := func(m notify.Message) {
		t.Helper()
		if _, err := p.config.Sink.Deliver(context.Background(), m); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range []notify.Message{raise("n1", "lost"), raise("n1", "kept"), raise("n2", "lost")} {
		tell(m)
	}
	tell(notify.Message{Type: notify.Resync, Node: "n1", At: now, Items: []notify.Message{raise("n1", "kept"), raise("n1", "new")}})
	await(t, "the resync", func() bool { return !strings.Contains(firing(t, addr), "n1 lost") })
	got := firing(t, addr)
	for _, want := range []string{"test/plain@kept", "test/plain@new", "test/plain@lost"} { // that of n2 is nobody's business
		if strings.Count(got, want) != 1 {
			t.Errorf("it holds %s, want %s once", got, want)
		}
	}
}
