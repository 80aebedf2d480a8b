package envelope_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"allclear/internal/envelope"
)

func newSecret(t *testing.T, b []byte) *envelope.Secret {
	t.Helper()
	s, err := envelope.NewSecret(bytes.Clone(b))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Destroy)
	return s
}

func TestASecretIsNeverPrinted(t *testing.T) {
	s := newSecret(t, []byte("hunter2"))
	var logged bytes.Buffer
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", "secret", s)
	asJSON, err := json.Marshal(map[string]any{"s": s})
	if err != nil {
		t.Fatal(err)
	}
	holder := struct{ S *envelope.Secret }{s}
	for _, got := range []string{
		fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s %q %x %d", s, s, s, s, s, s, s), fmt.Sprintf("%v", []any{s}), fmt.Sprintf("%+v", holder.S),
		logged.String(), string(asJSON),
	} {
		if strings.Contains(got, "hunter2") || strings.Contains(got, "68756e74") || !strings.Contains(got, "[secret]") {
			t.Errorf("printed as %q", got)
		}
	}
}

func TestASecretTakesItsBytesAndGivesThemUp(t *testing.T) {
	from := []byte("hunter2")
	s, err := envelope.NewSecret(from)
	if err != nil {
		t.Fatal(err)
	}
	if string(from) != "\x00\x00\x00\x00\x00\x00\x00" {
		t.Errorf("the slice still holds %q", from)
	}
	twin, err := s.Clone()
	if err != nil {
		t.Fatal(err)
	}
	if !s.Locked() {
		t.Error("a few bytes could not be locked")
	}
	s.Destroy()
	s.Destroy()
	if s.Bytes() != nil || s.Locked() {
		t.Errorf("after Destroy it holds %q", s.Bytes())
	}
	if _, err := s.Clone(); err == nil {
		t.Error("a destroyed secret was copied")
	}
	if string(twin.Bytes()) != "hunter2" {
		t.Errorf("its copy holds %q", twin.Bytes())
	}
	twin.Destroy()
	(*envelope.Secret)(nil).Destroy()
}

func TestSecretsAreBounded(t *testing.T) {
	for _, n := range []int{0, 16<<10 + 1} {
		if _, err := envelope.NewSecret(make([]byte, n)); err == nil {
			t.Errorf("a secret of %d bytes was taken", n)
		}
	}
	s, err := envelope.NewSecret(make([]byte, 16<<10))
	if err != nil {
		t.Fatal(err)
	}
	s.Destroy()
}
