package fault

import (
	"errors"
	"fmt"
)

// What an operator may not do.
var (
	ErrNotActive  = errors.New("the fault is not active")
	ErrNoReason   = errors.New("a reason is needed")
	ErrNotShelved = errors.New("the fault is not on the shelf")
	ErrFixing     = errors.New("the fault is marked fixed and a look is about to decide")
	ErrNotAcked   = errors.New("the fault is not acknowledged")
	ErrShelfTime  = fmt.Errorf("a shelf needs an end, at most %d days from now", int(MaxShelf.Hours()/24))
)

// CheckOperator says why the operator's word cannot be taken, or nil.
func CheckOperator(f *Fault, op Operator) error {
	switch op.Op {
	case OpAck, OpFix:
		if !f.Active {
			return ErrNotActive
		}
		if op.Op == OpAck && f.Mark != nil && f.Mark.Kind == OpFix {
			return ErrFixing // an ack would take the mark's place, and its answer would be lost
		}
	case OpUnack:
		if f.Mark == nil || f.Mark.Kind != OpAck {
			return ErrNotAcked
		}
	case OpShelve:
		if op.For <= 0 || op.For > MaxShelf {
			return ErrShelfTime
		}
	case OpUnshelve:
		if f.Shelf == nil {
			return ErrNotShelved
		}
	default:
		return fmt.Errorf("unknown operation %q", op.Op)
	}
	if op.Reason == "" && (op.Op == OpShelve || op.Op == OpFix || op.Op == OpAck) {
		return ErrNoReason
	}
	return nil
}

func (s *stepper) operator(in Operator) {
	if CheckOperator(&s.f, in) != nil {
		return
	}
	ev := Event{By: in.By, Reason: in.Reason, Trig: TriggerOperator}
	switch in.Op {
	case OpAck:
		ev.Kind = KindAck
	case OpUnack:
		ev.Kind = KindUnack
	case OpShelve:
		ev.Kind, ev.Due = KindShelve, NewDeadline(s.now.Clock, in.For)
	case OpUnshelve:
		ev.Kind = KindUnshelve
	case OpFix:
		ev.Kind, ev.Due = KindFix, NewDeadline(s.now.Clock, 2*in.Timeout)
	}
	s.emit(ev)
	if in.Op != OpFix {
		return
	}
	s.f.live.fixAnswered = false
	s.f.live.edit(func(r *rare) { r.fixOrder = s.now.Order })
	if s.e.ByOperator {
		s.clear(ByTheOperator, TriggerOperator)
	}
}
