package envelope_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"allclear/internal/envelope"
)

var errStop = errors.New("the disk is gone")

// Whatever step of a replacement fails, one of the two secrets opens afterwards, and
// the replacement can be asked for again.
func TestReplaceKeepsOneOfTheTwoSecrets(t *testing.T) {
	for stop := 1; ; stop++ {
		reached := false
		t.Run(fmt.Sprint("step ", stop), func(t *testing.T) {
			step, armed := 0, false
			k, root, err := fixedKeeper(filepath.Join(t.TempDir(), "keys"), func(string) error {
				if !armed {
					return nil
				}
				if step++; step == stop {
					reached = true
					return errStop
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			if err := k.Protect(t.Context(), "secret/mail", []byte("old")); err != nil {
				t.Fatal(err)
			}
			armed = true
			err = k.Replace(t.Context(), "secret/mail", []byte("new"))
			armed = false
			want := "new"
			if reached && step == 1 { // nothing was written yet
				want = "old"
			}
			if reached != errors.Is(err, errStop) {
				t.Errorf("Replace: %v", err)
			}
			got, _, err := k.Open(t.Context(), "secret/mail")
			if err != nil || string(got) != want {
				t.Errorf("opens as %q, %v; want %q", got, err, want)
			}
			if err := k.Replace(t.Context(), "secret/mail", []byte("new")); err != nil {
				t.Fatal(err)
			}
			got, info, err := k.Open(t.Context(), "secret/mail")
			if err != nil || string(got) != "new" || info.Copies != 2 {
				t.Errorf("once more: %q, %d copies, %v", got, info.Copies, err)
			}
		})
		if !reached {
			if stop < 4 {
				t.Errorf("only %d steps were tried", stop)
			}
			return
		}
	}
}

func TestReplaceMakesNothingNew(t *testing.T) {
	k, root, err := fixedKeeper(filepath.Join(t.TempDir(), "keys"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := k.Replace(t.Context(), "secret/mail", []byte("x")); !errors.Is(err, envelope.ErrNotFound) {
		t.Errorf("Replace of nothing: %v", err)
	}
	if err := k.Replace(t.Context(), "secret/mail", nil); err == nil {
		t.Error("an empty secret was taken")
	}
}
