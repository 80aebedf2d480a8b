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
	"strconv"
	"sync"
	"syscall"
	"time"
)

// alertmanager gives Alertmanager the same number of alerts, in the same batch
// sizes, and measures the same things. It acknowledges from memory: nothing it
// takes is on disk when it answers.
func alertmanager(ctx context.Context, path, dir string, n int) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	config := filepath.Join(dir, "am.yml")
	if err := os.WriteFile(config, []byte("route: {receiver: none}\nreceivers: [{name: none}]\n"), 0o600); err != nil {
		return err
	}
	addr, err := freeAddress()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, path, "--config.file="+config, "--storage.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+addr, "--cluster.listen-address=", "--log.level=error")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	am := &rival{base: "http://" + addr + "/api/v2", pid: cmd.Process.Pid}
	if err := am.ready(ctx); err != nil {
		return err
	}
	before, err := resident(am.pid)
	if err != nil {
		return err
	}
	start := time.Now()
	if err := am.postAll(ctx, n); err != nil {
		return err
	}
	stored := time.Since(start)
	start = time.Now()
	got, err := am.count(ctx)
	if err != nil {
		return err
	}
	listed := time.Since(start)
	if got != n {
		return fmt.Errorf("the peer shows %d alerts of %d", got, n)
	}
	after, err := resident(am.pid)
	if err != nil {
		return err
	}
	fmt.Printf("\n%-34s %10.0f alerts/s   acknowledged in memory, nothing on disk\n", "Alertmanager, 4 x 100 a request", float64(n)/stored.Seconds())
	fmt.Printf("%-34s %10.0f B\n", "resident an alert", float64(after-before)/float64(n))
	fmt.Printf("%-34s %10.3f s          (it has no pages)\n", fmt.Sprintf("list of %d", n), listed.Seconds())
	return nil
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

type rival struct {
	base string
	pid  int
}

// ready waits until the API answers.
func (r *rival) ready(ctx context.Context) error {
	ctx, stop := context.WithTimeoutCause(ctx, 30*time.Second, errors.New("the peer does not start"))
	defer stop()
	for {
		if _, err := r.count(ctx); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

type alert struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

func (r *rival) postAll(ctx context.Context, n int) error {
	const callers, size = 4, 100
	errs := make(chan error, callers)
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := c * size; i < n; i += callers * size {
				if err := r.post(ctx, i, min(size, n-i)); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

func (r *rival) post(ctx context.Context, first, size int) error {
	alerts := make([]alert, size)
	for i := range alerts {
		name := "target-" + strconv.Itoa(first+i)
		alerts[i] = alert{
			Labels: map[string]string{"alertname": string(code), "resource": name, "severity": "major"},
			Annotations: map[string]string{
				"text": "dial " + name + ": connection refused", "banner": "SSH-2.0-OpenSSH_9.2 " + name, "missing": "kex",
			},
		}
	}
	body, err := json.Marshal(alerts)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.base+"/alerts", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return fmt.Errorf("post alerts: %s: %s", resp.Status, said)
	}
	return nil
}

// count lists all alerts and returns how many there are.
func (r *rival) count(ctx context.Context) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.base+"/alerts", nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var alerts []struct{}
	if err := json.NewDecoder(resp.Body).Decode(&alerts); err != nil {
		return 0, err
	}
	return len(alerts), nil
}
