package watch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"

	"allclear/internal/check"
	"allclear/internal/fault"
	"allclear/internal/netdiag"
)

// The codes of certificates of other programs.
const (
	CodeCertExpiring fault.Code = "certificate/expiring"
	CodeCertExpired  fault.Code = "certificate/expired"
	CodeCertInvalid  fault.Code = "certificate/invalid"
)

// maxPEM bounds a certificate, key or bundle file, in bytes.
const maxPEM = 1 << 20

// certificateCheck looks at one certificate file.
func certificateCheck(item Certificate) check.Check {
	return check.Check{
		Name: "watch.certificate", Resource: item.Name,
		Codes: []fault.Code{CodeCertExpiring, CodeCertExpired, CodeCertInvalid},
		Every: item.Every, Timeout: 10 * time.Second, Version: fmt.Sprint(item),
		Run: func(_ context.Context, r *check.Report) { lookAtCertificate(r, item, time.Now()) },
	}
}

func lookAtCertificate(r *check.Report, item Certificate, now time.Time) {
	in, err := readCertificate(item)
	if err != nil {
		r.Present(CodeCertInvalid, err, map[string]string{"qualifier": "unreadable", "path": item.Path, "status": "unreadable"})
		return // expiry was not seen
	}
	rep := netdiag.CheckCertificate(in, now, netdiag.CertificateOptions{
		Warning: item.Warning, Major: item.Major, Name: strings.Join(item.Names, ","),
	})
	judgeCertificate(r, item, rep)
}

func judgeCertificate(r *check.Report, item Certificate, rep netdiag.CertificateReport) {
	sense := certificateSense(item, rep)
	if bad := rep.Invalid(); len(bad) > 0 {
		var words []string
		for _, f := range bad {
			words = append(words, f.Detail)
		}
		invalid := copied(sense)
		invalid["qualifier"], invalid["status"] = string(bad[0].Status), statuses(bad)
		r.Present(CodeCertInvalid, errors.New(strings.Join(words, "; ")), invalid)
	} else {
		r.Absent(CodeCertInvalid)
	}
	if rep.Leaf == nil {
		return
	}
	if rep.Expired() {
		r.Present(CodeCertExpired, fmt.Errorf("expired %s", rep.Leaf.NotAfter.UTC().Format(time.RFC3339)), sense)
		return // "expiring" is over, not disproved
	}
	r.Absent(CodeCertExpired)
	if severity, expiring := rep.Expiring(); expiring {
		r.PresentAt(severityOf(severity), CodeCertExpiring, fmt.Errorf("valid until %s", rep.Leaf.NotAfter.UTC().Format(time.RFC3339)), sense)
		return
	}
	r.Absent(CodeCertExpiring)
	r.Proved("%s is valid until %s", rep.Leaf.Subject, rep.Leaf.NotAfter.UTC().Format(time.RFC3339))
}

func severityOf(s string) fault.Severity {
	var severity fault.Severity
	if severity.UnmarshalText([]byte(s)) != nil {
		return fault.None // the entry's
	}
	return severity
}

func copied(m map[string]string) map[string]string {
	c := make(map[string]string, len(m)+2)
	for k, v := range m {
		c[k] = v
	}
	return c
}

func statuses(findings []netdiag.CertificateFinding) string {
	var words []string
	for _, f := range findings {
		words = append(words, string(f.Status))
	}
	return strings.Join(words, ", ")
}

func certificateSense(item Certificate, rep netdiag.CertificateReport) map[string]string {
	sense := map[string]string{"path": item.Path}
	if l := rep.Leaf; l != nil {
		sense["subject"], sense["issuer"], sense["serial"] = l.Subject, l.Issuer, l.Serial
		sense["not_before"] = l.NotBefore.UTC().Format(time.RFC3339)
		sense["not_after"] = l.NotAfter.UTC().Format(time.RFC3339)
		sense["days_left"] = fmt.Sprintf("%.0f", math.Floor(rep.Left.Hours()/24))
		sense["life_left"] = fmt.Sprintf("%.2f", rep.LifeLeft)
	}
	return sense
}

func readCertificate(item Certificate) (in netdiag.CertificateInput, err error) {
	for _, f := range []struct {
		path string
		into *[]byte
	}{{item.Path, &in.Cert}, {item.KeyPath, &in.Key}, {item.RootsPath, &in.Roots}} {
		if f.path == "" {
			continue
		}
		if *f.into, err = readBounded(f.path); err != nil {
			return in, err
		}
	}
	return in, nil
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxPEM+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(data) > maxPEM {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxPEM)
	}
	return data, nil
}
