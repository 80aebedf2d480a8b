package api

import (
	"context"
	"errors"
	"io"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"allclear/internal/subsystem"
)

func TestADownloadIsBytesAsTheyComeAndIsAudited(t *testing.T) {
	f := start(t)
	resp, body := f.do("GET", "/v1/demo/bytes?of=x", "")
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/octet-stream" || body != "0 of x\n1 of x\n2 of x\n" {
		t.Errorf("%s %q", resp.Status, body)
	}
	if resp, body := f.do("GET", "/v1/demo/bytes", ""); resp.StatusCode != 500 || !strings.Contains(body, "bytes of what?") {
		t.Errorf("an error before the first byte: %s %q", resp.Status, body)
	}
	if _, body := f.do("GET", "/v1/demo/bytes?of=crack", ""); body != "0 of crack\n" {
		t.Errorf("an error after the first byte: %q", body)
	}
	if log := f.log.String(); strings.Count(log, `"path":"/v1/demo/bytes"`) < 3 {
		t.Errorf("not audited:\n%s", log)
	}
}

func TestADownloadEndsWithTheServer(t *testing.T) {
	s := &Server{streams: make(chan struct{}, 1), stopping: make(chan struct{})}
	begun := make(chan struct{})
	endless := subsystem.Download{Send: func(ctx context.Context, _ url.Values, w io.Writer) error {
		_, err := io.WriteString(w, "first")
		close(begun)
		<-ctx.Done()
		return errors.Join(err, ctx.Err())
	}}
	ended := make(chan error)
	go func() { ended <- s.download(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil), endless) }()
	<-begun
	close(s.stopping)
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
}
