package keyserver

import (
	"bytes"
	"context"
	"errors"
	"time"

	"allclear/internal/subsystem"
	"allclear/internal/wire"
	"allclear/kmip"
	"allclear/kmip/kmiptest"
)

func tellNobody(wire.Progress) {}

// Drills implements subsystem.Driller: at least one for each code that a look can
// raise. All run without privileges, network or installed programs, on real key
// servers in this process.
func (k *KeyServers) Drills() []subsystem.Drill {
	return append(append(serverDrills(), keyDrills()...), nodeDrills()...)
}

func serverDrills() []subsystem.Drill {
	every := []kmip.Version{kmip.V1_0, kmip.V1_1, kmip.V1_2, kmip.V1_3, kmip.V1_4}
	return []subsystem.Drill{
		drillOf(CodeUnreachable, masterOf, withKey, down(theMaster), up(theMaster)),
		drillOf(CodeTLSFailed, masterOf, withKey, wrongAuthority, rightAuthority),
		drillOf(CodeClientNotAccepted, masterOf, withKey, expiredClient, goodClient),
		drillOf(CodeUnsupported, masterOf, withKey, become(theMaster, versions(kmip.V1_0, kmip.V1_1, kmip.V1_2)), become(theMaster, versions(every...))),
		drillOf(CodeUnsupported, masterOf, withKey, become(theMaster, vendor("Some Other Key Store 9.0.0.0")), become(theMaster, vendor("IBM SKLM 4.1.1.0"))),
		drillOf(CodeKMIPError, masterOf, withKey,
			misbehave(theMaster, kmiptest.Fault{Kind: kmiptest.Refuse, Operation: "Query", Reason: "GeneralFailure", Message: "the database is not open"}),
			behave(theMaster)),
		drillOf(CodePrimaryConflict, masterOf, withKey, become(theMaster, role(kmiptest.Clone)), become(theMaster, role(kmiptest.Master))),
		drillOf(CodeSlow, masterOf, withKey,
			misbehave(theMaster, kmiptest.Fault{Kind: kmiptest.Slow, Operation: "Query", Delay: drillSlow + drillSlow/4}), behave(theMaster)),
		drillOf(CodeCertExpiring, masterOf, withKey, endingClient, goodClient),
	}
}

func keyDrills() []subsystem.Drill {
	return []subsystem.Drill{
		drillOf(CodeKeyMissing, cloneOf, withKey, loseKey, followAgain),
		drillOf(CodeKeyWrong, cloneOf, withKey, spoilKey, restoreKey),
		drillOf(CodeReplicaLag, cloneOf, withKey, prepareUnreplicated, release),
		drillOf(CodeNoPrimary, groupOf, withKey, demoteAll, promoteMaster),
		drillOf(CodeRedundancyLost, groupOf, withKey, down(theClone), up(theClone)),
		drillOf(CodeAllLost, groupOf, withKey, down(theMaster, theClone), up(theMaster, theClone)),
	}
}

func nodeDrills() []subsystem.Drill {
	return []subsystem.Drill{
		drillOf(CodeRekeyFailed, keyOf, withKey, prepareUnreplicated, func(ctx context.Context, s *site) error {
			s.replication.Release()
			return s.node.renewer().Prepare(ctx)
		}),
		drillOf(CodeRekeyStale, keyOf, withKey, func(ctx context.Context, s *site) error {
			if err := s.node.renewer().Prepare(ctx); err != nil {
				return err
			}
			s.ahead.Add(int64(rekeyStale + time.Hour)) // nobody does anything for a day
			return nil
		}, func(ctx context.Context, s *site) error { return s.node.renewer().Commit(ctx) }),
		drillOf(CodeRecoveryUnproven, recoveryOf, func(ctx context.Context, s *site) error {
			return errors.Join(s.withKey(ctx), newRecovery(ctx, s))
		}, func(_ context.Context, s *site) error {
			s.ahead.Add(int64(recoveryAge + day)) // nobody looks for the paper
			return nil
		}, newRecovery),
	}
}

func vendor(name string) func(*kmiptest.Options) {
	return func(o *kmiptest.Options) { o.Vendor = name }
}

func role(r kmiptest.Role) func(*kmiptest.Options) {
	return func(o *kmiptest.Options) { o.Role = r }
}

// wrongAuthority gives the master a certificate of an authority that nobody here
// trusts.
func wrongAuthority(_ context.Context, s *site) error {
	foreign, err := kmiptest.NewPKI("an authority that nobody trusts")
	if err != nil {
		return err
	}
	id, err := foreign.Issue(kmiptest.CertRequest{NotAfter: time.Now().Add(365 * day)})
	if err != nil {
		return err
	}
	return s.master.Set(func(o *kmiptest.Options) { o.Certificate = id.TLS })
}

func rightAuthority(_ context.Context, s *site) error {
	id, err := s.issue(kmiptest.CertRequest{})
	if err != nil {
		return err
	}
	return s.master.Set(func(o *kmiptest.Options) { o.Certificate = id.TLS })
}

// expiredClient puts a certificate of ours in place whose time is over.
func expiredClient(_ context.Context, s *site) error {
	now := time.Now()
	return s.replaceClient(kmiptest.CertRequest{CommonName: "node1", NotBefore: now.Add(-400 * day), NotAfter: now.Add(-day)})
}

// endingClient puts a certificate of ours in place that ends within weeks.
func endingClient(_ context.Context, s *site) error {
	now := time.Now()
	return s.replaceClient(kmiptest.CertRequest{CommonName: "node1", NotBefore: now.Add(-300 * day), NotAfter: now.Add(40 * day)})
}

func (s *site) replaceClient(r kmiptest.CertRequest) error {
	id, err := s.pki.Issue(r)
	if err != nil {
		return err
	}
	return s.put(id)
}

func goodClient(_ context.Context, s *site) error { return s.put(s.ours) }

// loseKey takes the key from the clone, as a restore from an old backup does.
func loseKey(_ context.Context, s *site) error {
	uid, err := s.current()
	if err != nil {
		return err
	}
	return s.clone.Lose(uid)
}

// followAgain has the clone take everything over from the master anew.
func followAgain(_ context.Context, s *site) (err error) {
	s.replication, err = s.clone.Follow(s.master, 0)
	return err
}

// spoilKey puts other bytes under the key's identifier on the clone.
func spoilKey(_ context.Context, s *site) error {
	uid, err := s.current()
	if err != nil {
		return err
	}
	return s.clone.Overwrite(uid, bytes.Repeat([]byte{0x5a}, 32))
}

func restoreKey(_ context.Context, s *site) error {
	uid, err := s.current()
	if err != nil {
		return err
	}
	o, ok := s.master.Find(uid)
	if !ok {
		return errors.New("the master of the lab has lost the key")
	}
	return s.clone.Overwrite(uid, o.Material)
}

// prepareUnreplicated prepares a new key while nothing reaches the clone: the
// renewal stops at the proof.
func prepareUnreplicated(ctx context.Context, s *site) error {
	s.replication.Hold()
	if err := s.node.renewer().Prepare(ctx); err == nil {
		return errors.New("a key was proved on a clone that does not have it")
	}
	return nil
}

func release(_ context.Context, s *site) error {
	s.replication.Release()
	return nil
}

// demoteAll defines no primary, as a mistake in the configuration does.
func demoteAll(_ context.Context, s *site) error { return s.definePrimary(false) }

func promoteMaster(_ context.Context, s *site) error { return s.definePrimary(true) }

func (s *site) definePrimary(primary bool) error {
	o := s.opts
	o.Servers = []Server{s.object(siteMaster, s.master.Address(), primary), s.object(siteClone, s.clone.Address(), false)}
	return s.node.Configure(o)
}

// newRecovery makes a recovery key and proves that whoever has it opens everything.
func newRecovery(ctx context.Context, s *site) error {
	identity, _, err := s.node.keeper.CreateRecovery(ctx)
	if err != nil {
		return err
	}
	_, err = s.node.keeper.ValidateRecovery(ctx, identity)
	return err
}
