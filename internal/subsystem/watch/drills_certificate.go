package watch

import (
	"context"
	"errors"
	"time"

	"allclear/internal/fault"
	"allclear/internal/lab"
	"allclear/internal/subsystem"
)

// certificateDrills put real certificate files in place and replace them.
func certificateDrills() []subsystem.Drill {
	return []subsystem.Drill{
		certificateDrill(CodeCertExpiring, -60*day, 20*day),
		certificateDrill(CodeCertExpired, -90*day, -time.Minute),
		drillOf(CodeCertInvalid, certificateWrongKey),
	}
}

// certificateLab is a certificate with its key, in files of the lab.
type certificateLab struct {
	lab  *lab.Lab
	pair *lab.Pair
	item Certificate
}

// newCertificateLab puts a certificate that is good for a year in place.
func newCertificateLab(l *lab.Lab) (*certificateLab, error) {
	pair, err := l.Issue(lab.CertOptions{NotAfter: time.Now().Add(365 * day)})
	if err != nil {
		return nil, err
	}
	c := &certificateLab{lab: l, pair: pair, item: Certificate{
		Name: l.Resource("certificate"), Names: []string{"lab.test", "localhost"},
		Warning: 30 * day, Major: 7 * day, Every: drillEvery,
	}}
	for _, f := range []struct {
		name string
		data []byte
		path *string
	}{{"cert.pem", pair.CertPEM, &c.item.Path}, {"key.pem", pair.KeyPEM, &c.item.KeyPath}, {"ca.pem", l.CA().PEM, &c.item.RootsPath}} {
		if *f.path, err = l.WriteFile(f.name, f.data); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// put replaces certificate and key.
func (c *certificateLab) put(cert, key []byte) func(context.Context) error {
	return func(context.Context) error {
		_, err := c.lab.WriteFile("cert.pem", cert)
		_, err2 := c.lab.WriteFile("key.pem", key)
		return errors.Join(err, err2)
	}
}

// rig is the check as production makes it.
func (c *certificateLab) rig(cert, key []byte) rig {
	return rig{check: certificateCheck(c.item), broken: c.put(cert, key), whole: c.put(c.pair.CertPEM, c.pair.KeyPEM)}
}

// certificateDrill puts a certificate in place that is valid between these
// times, counted from now.
func certificateDrill(code fault.Code, from, to time.Duration) subsystem.Drill {
	return drillOf(code, func(_ context.Context, l *lab.Lab) (rig, error) {
		c, err := newCertificateLab(l)
		if err != nil {
			return rig{}, err
		}
		now := time.Now()
		other, err := l.Issue(lab.CertOptions{NotBefore: now.Add(from), NotAfter: now.Add(to)})
		if err != nil {
			return rig{}, err
		}
		return c.rig(other.CertPEM, other.KeyPEM), nil
	})
}

// certificateWrongKey replaces the key and forgets the certificate.
func certificateWrongKey(_ context.Context, l *lab.Lab) (rig, error) {
	c, err := newCertificateLab(l)
	if err != nil {
		return rig{}, err
	}
	other, err := l.Issue(lab.CertOptions{})
	if err != nil {
		return rig{}, err
	}
	return c.rig(c.pair.CertPEM, other.KeyPEM), nil
}
