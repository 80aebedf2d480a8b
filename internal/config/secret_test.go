package config_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"allclear/internal/config"
)

const login = "watch: {ssh: [{name: a, address: a, login: {user: u, password: %q}}]}"

// secret loads a configuration whose one secret is ref.
func secret(t *testing.T, ref string, files map[string]string) (config.Secret, string, error) {
	t.Helper()
	dir := folder(t, files)
	c, wrong := config.Parse(filepath.Join(dir, "c.yaml"), fmt.Appendf(nil, login, ref))
	if len(c.Watch.SSH) != 1 || c.Watch.SSH[0].Login == nil {
		t.Fatalf("no login was read: %v", wrong.Err())
	}
	return c.Watch.SSH[0].Login.Password, dir, wrong.Err()
}

func TestASecretIsReadFromWhereItsReferencePoints(t *testing.T) {
	creds := folder(t, map[string]string{"pw": "from the service manager"})
	t.Setenv("CREDENTIALS_DIRECTORY", creds)
	t.Setenv("ALLCLEAR_TEST_PW", "from the environment")
	absolute := filepath.Join(creds, "pw")
	for ref, want := range map[string]string{
		"file:pw":              "from the file",
		"file:./pw":            "from the file",
		"file:" + absolute:     "from the service manager",
		"env:ALLCLEAR_TEST_PW": "from the environment",
		"cred:pw":              "from the service manager",
	} {
		s, _, err := secret(t, ref, map[string]string{"pw": "from the file\n"})
		if err != nil {
			t.Errorf("%s: %v", ref, err)
			continue
		}
		if got, err := s.Text(); got != want || err != nil {
			t.Errorf("%s: %q, %v; want %q", ref, got, err, want)
		}
		if !s.Set() || s.Where() != ref {
			t.Errorf("%s: Set %v, Where %q", ref, s.Set(), s.Where())
		}
	}
}

func TestASecretIsReadAnewEachTime(t *testing.T) {
	s, dir, err := secret(t, "file:pw", map[string]string{"pw": "old"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "pw"), []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Text(); got != "new" || err != nil {
		t.Errorf("Text = %q, %v; want the rotated one", got, err)
	}
	if err := os.Chmod(filepath.Join(dir, "pw"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = s.Read()
	if e, ok := errors.AsType[*config.RightsError](err); !ok || !strings.HasPrefix(e.Mend, "chmod o-r ") {
		t.Errorf("Read of a file that everybody reads = %v, want a RightsError with its mending", err)
	}
}

func TestAReferenceThatLeadsNowhereIsAMistake(t *testing.T) {
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	long := strings.Repeat("x", 1<<20+1)
	files := map[string]string{"empty": "", "long": long}
	for _, c := range []struct{ ref, want string }{
		{"file:gone", "there is no file DIR/gone"},
		{"file:empty", "read file:empty: it is empty"},
		{"file:long", "read file:long: DIR/long is larger than 1MiB"},
		{"file:.", "read file:.: DIR is not a regular file"},
		{"env:ALLCLEAR_TEST_UNSET", "read env:ALLCLEAR_TEST_UNSET: the environment variable is not set: it is empty"},
		{"env:A=B", "the name of an environment variable holds no space and no ="},
		{"cred:pw", "read cred:pw: the service manager has passed no credentials"},
		{"cred:../pw", "the name of a credential holds no slash"},
		{"cred:..", "the name of a credential holds no slash"},
		{"hunter2", "this is no reference"},
		{"http://hunter2", "this is no reference"},
		{"file:", "this is no reference"},
		{"", "this is no reference"},
		{"FILE:pw", "this is no reference"},
	} {
		_, dir, err := secret(t, c.ref, files)
		if err == nil {
			t.Errorf("%q: no mistake", c.ref)
			continue
		}
		_, got, _ := strings.Cut(strings.ReplaceAll(err.Error(), dir, "DIR"), "login.password: ")
		if head, _, _ := strings.Cut(got, ";"); head != c.want {
			t.Errorf("%q:\ngot  %s\nwant %s", c.ref, head, c.want)
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q is repeated: %v", c.ref, err)
		}
	}
}

func TestWhoElseMayTouchAReferencedFile(t *testing.T) {
	const text = "watch: {tls: [{name: a, address: a, ca: 'file:f', client_cert: 'file:f', client_key: 'file:f'}]}"
	for _, c := range []struct {
		mode    os.FileMode
		refused []string
	}{
		{0o600, nil},
		{0o640, nil},
		{0o644, []string{"client_key"}},
		{0o660, []string{"ca", "client_cert", "client_key"}},
		{0o602, []string{"ca", "client_cert", "client_key"}},
	} {
		dir := folder(t, map[string]string{"f": "x"})
		if err := os.Chmod(filepath.Join(dir, "f"), c.mode); err != nil {
			t.Fatal(err)
		}
		_, wrong := config.Parse(filepath.Join(dir, "c.yaml"), []byte(text))
		var refused []string
		for _, m := range wrong.Items() {
			refused = append(refused, strings.TrimPrefix(m.Path, "watch.tls[0]."))
			if !strings.HasPrefix(m.Hint, "run: chmod ") {
				t.Errorf("mode %v: hint %q", c.mode, m.Hint)
			}
		}
		if diff := cmp.Diff(c.refused, refused); diff != "" {
			t.Errorf("mode %v, refused (-want +got):\n%s", c.mode, diff)
		}
	}
}

func TestASecretNeverSaysMoreThanThatItIsOne(t *testing.T) {
	s, _, err := secret(t, "file:canary", map[string]string{"canary": "canary"})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "secret", s, "pointer", &s, "holder", config.Login{Password: s})
	holder, err := json.Marshal(config.Login{Password: s})
	if err != nil {
		t.Fatal(err)
	}
	key, err := json.Marshal(map[config.Secret]int{s: 1})
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]string{
		"slog": log.String(), "json": string(holder), "json key": string(key), "error": fmt.Errorf("x %w %v", fs.ErrExist, s).Error(),
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%20v"} {
		said[verb] = fmt.Sprintf(verb, s)
		said["holder "+verb] = fmt.Sprintf(verb, config.Login{Password: s})
		said["pointer "+verb] = fmt.Sprintf(verb, &s)
	}
	for how, what := range said {
		if strings.Contains(what, "canary") || !strings.Contains(what, "[secret]") {
			t.Errorf("%s: %s", how, what)
		}
	}
}

func TestAReferenceThatIsNotSetIsNotRead(t *testing.T) {
	if _, err := (config.Secret{}).Read(); err == nil || (config.Secret{}).Set() || (config.Ref{}).Set() {
		t.Error("the zero value passes as a reference")
	}
}
