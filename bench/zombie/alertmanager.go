package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"allclear/internal/lab"
)

const alertmanagerConf = `
route:
  receiver: hook
  group_by: [alertname]
  group_wait: 500ms
  group_interval: 1s
  repeat_interval: 1h
inhibit_rules:
  - source_matchers: [alertname = cause]
    target_matchers: [alertname = symptom]
receivers:
  - name: hook
    webhook_configs: [{url: "%s", send_resolved: true}]
`

// alertmanager is Debian's prometheus-alertmanager with something that feeds it
// as Prometheus does.
type alertmanager struct {
	dir, addr string
	cmd       *exec.Cmd

	mu     sync.Mutex // guards alerts
	alerts map[string]alert

	feed    context.CancelFunc
	feeding sync.WaitGroup
	silence string
}

type alert struct {
	Labels   map[string]string `json:"labels"`
	StartsAt time.Time         `json:"startsAt"`
	EndsAt   time.Time         `json:"endsAt"`
	ended    bool
}

func newAlertmanager(r *receiver, dir string) (system, error) {
	if lab.Program("prometheus-alertmanager") == "" {
		return nil, errors.New("needs: prometheus-alertmanager")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	a := &alertmanager{dir: dir, addr: ln.Addr().String(), alerts: map[string]alert{}}
	if err := ln.Close(); err != nil {
		return nil, err
	}
	conf := fmt.Sprintf(alertmanagerConf, r.url)
	return a, os.WriteFile(filepath.Join(dir, "conf"), []byte(conf), 0o600)
}

func (a *alertmanager) start() error {
	a.cmd = exec.Command(lab.Program("prometheus-alertmanager"), "--config.file="+filepath.Join(a.dir, "conf"),
		"--storage.path="+a.dir, "--web.listen-address="+a.addr, "--cluster.listen-address=")
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := a.cmd.Start(); err != nil {
		return err
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		resp, err := http.Get("http://" + a.addr + "/-/ready")
		if err == nil {
			_ = resp.Body.Close() // only the status counts
			if resp.StatusCode == http.StatusOK {
				break
			}
		}
		if time.Now().After(end) {
			return fmt.Errorf("wait until Alertmanager is ready: %w", err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	a.feed = cancel
	a.feeding.Go(func() {
		for {
			_ = a.tell() // told again in a second
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Second):
			}
		}
	})
	return nil
}

// repeated is how long an ended alert is told again.
const repeated = 3 * time.Second

// tell sends every alert there is, and those that have just ended, as
// Prometheus does.
func (a *alertmanager) tell() error {
	a.mu.Lock()
	var all []alert
	for _, al := range a.alerts {
		switch {
		case !al.ended:
			al.EndsAt = time.Now().Add(4 * time.Minute)
		case time.Since(al.EndsAt) > repeated:
			continue
		}
		all = append(all, al)
	}
	a.mu.Unlock()
	if len(all) == 0 {
		return nil
	}
	_, err := a.post("/api/v2/alerts", all)
	return err
}

func (a *alertmanager) post(path string, v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	resp, err := http.Post("http://"+a.addr+path, "application/json", bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s: %s: %s", path, resp.Status, answer)
	}
	return answer, err
}

func (a *alertmanager) kill() error {
	a.feed()
	a.feeding.Wait()
	err := a.cmd.Process.Kill()
	_ = a.cmd.Wait() // it was killed
	a.cmd = nil
	return err
}

func (a *alertmanager) stop() {
	if a.cmd != nil {
		_ = a.kill() // it has ended by itself then
	}
}

func (a *alertmanager) is(name string, there bool) error {
	a.mu.Lock()
	al, known := a.alerts[name]
	if !known {
		al = alert{Labels: map[string]string{"alertname": name, "node": "n1"}, StartsAt: time.Now()}
	}
	al.ended = !there
	al.EndsAt = time.Now()
	a.alerts[name] = al
	a.mu.Unlock()
	if a.cmd == nil {
		return nil // it is down; it will be told again and again
	}
	return a.tell()
}

func (a *alertmanager) quiet(on bool) error {
	if !on {
		req, err := http.NewRequest(http.MethodDelete, "http://"+a.addr+"/api/v2/silence/"+a.silence, nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}
	answer, err := a.post("/api/v2/silences", map[string]any{
		"matchers": []map[string]any{{"name": "alertname", "value": symptom, "isRegex": false, "isEqual": true}},
		"startsAt": time.Now(), "endsAt": time.Now().Add(time.Hour), "createdBy": "bench", "comment": "bench",
	})
	if err != nil {
		return err
	}
	var s struct {
		SilenceID string `json:"silenceID"`
	}
	err = json.Unmarshal(answer, &s)
	a.silence = s.SilenceID
	return err
}
