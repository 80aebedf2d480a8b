package backup

import (
	"context"
	"fmt"
	"slices"
	"time"

	"allclear/internal/subsystem/backup/repository"
	"allclear/internal/wire"
)

// maxProblems is how many problems a verification names.
const maxProblems = 100

func (s *snapshots) verify(ctx context.Context, percent float64, tell func(wire.Progress)) (lookRecord, error) {
	cov := &repository.Coverage{Read: map[repository.ID]time.Time{}}
	s.b.history.coverage(s.job.Name, cov)
	at := time.Now().UTC()
	o := repository.CheckOptions{
		Level: repository.CheckData, Coverage: cov,
		Progress: func(p repository.Progress) {
			tell(wire.Progress{Stage: stageVerify, Percent: percentage(p.Done, p.Total), Text: p.Stage})
		},
	}
	if percent < 100 {
		o.Part.Percent = percent
	}
	res, err := s.repo.Check(ctx, o)
	if ctx.Err() != nil {
		return lookRecord{}, context.Cause(ctx)
	}
	if v := asType[*verifyError](damageOf(err)); v != nil {
		return *badLook(s.job.Name, *v), nil
	}
	if err != nil {
		return lookRecord{}, fmt.Errorf("verify the repository: %w", err)
	}
	s.b.history.cover(s.job.Name, cov)
	look := lookRecord{
		BackupVerify: wire.BackupVerify{
			Job: s.job.Name, OK: res.Wrong == 0, At: at, Copies: res.Snapshots, Objects: int64(res.Packs), Bytes: res.BytesTotal,
			BytesRead: res.BytesRead, ReadPercent: 100 * cov.Since(at.Add(-s.job.Proof.fullRead())), Problems: []string{},
		},
		Oldest: cov.Oldest(),
	}
	if look.OK && res.Snapshots == 0 {
		look.OK = false
		look.add(&verifyError{kind: "missing", path: "snapshots", err: fmt.Errorf("every snapshot of job %s is gone", s.job.Name)})
	}
	for _, p := range res.Problems {
		look.add(&verifyError{kind: damageKind(p.Err), path: p.Where, err: fmt.Errorf("%s", p)})
	}
	return look, nil
}

// keepOf are the keep rules in the words of a repository.
func keepOf(k Keep) repository.Keep {
	return repository.Keep{
		Last: k.Last, Hourly: k.Hourly, Daily: k.Daily, Weekly: k.Weekly, Monthly: k.Monthly, Yearly: k.Yearly,
		Within: repository.Span{Hours: int(k.Within / time.Hour)},
	}
}

// retain keeps by rule within the snapshots that carry the job's tag, those of
// each host apart; what others have put into the repository is not touched.
func (s *snapshots) retain(ctx context.Context, made string) (retention, error) {
	groups, err := s.repo.Forget(ctx, keepOf(s.job.Keep), repository.ForgetOptions{
		AnyPaths: true, Tags: true, Of: func(snap repository.Snapshot) bool { return slices.Contains(snap.Tags, s.job.Name) },
		Spare: func(snap repository.Snapshot) bool { return snap.ID.String() == made },
	})
	var out retention
	for _, g := range groups {
		out.Removed += len(g.Drop)
		out.Copies += len(g.Keep)
	}
	if err != nil {
		out.Copies, out.Expired, out.Removed = out.Copies+out.Removed, out.Removed, 0
		return out, fmt.Errorf("forget old snapshots: %w", err)
	}
	if out.Removed == 0 {
		return out, nil
	}
	if _, err := s.repo.Prune(ctx, repository.PruneOptions{}); err != nil {
		return out, fmt.Errorf("prune the repository: %w", err)
	}
	return out, nil
}

// tidy works under the exclusive lock, so that it meets nobody's file that is
// still being written.
func (s *snapshots) tidy(ctx context.Context) (bool, error) {
	_, _, err := s.repo.Tidy(ctx)
	return err == nil, err
}
