package kmiptest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kind is a way in which a server misbehaves.
type Kind string

// The kinds. Those of the first group strike before a request is read, those of the second in place of doing what was
// asked, those of the third spoil the answer to something that was done.
const (
	Reset          Kind = "reset"           // accept the connection and reset it
	StallHandshake Kind = "stall-handshake" // accept the connection and say nothing

	Stall    Kind = "stall"     // never answer, and do nothing
	Slow     Kind = "slow"      // wait Delay, then do it and answer
	Hangup   Kind = "hangup"    // cut the connection and do nothing
	Refuse   Kind = "refuse"    // answer with Status, Reason and Message, and do nothing
	Missing  Kind = "missing"   // objects (that named by ID, or all) are not there: ItemNotFound, and not located
	WrongKey Kind = "wrong-key" // Get answers other bytes of the same length

	LoseAnswer     Kind = "lose-answer"     // do it, then cut the connection instead of answering
	Cut            Kind = "cut"             // cut the connection after Bytes bytes of the answer
	Trickle        Kind = "trickle"         // send the answer one byte each Delay
	OtherOperation Kind = "other-operation" // the answer is one to another operation
	OtherVersion   Kind = "other-version"   // the answer's header has version 9.9
	WrongCount     Kind = "wrong-count"     // the batch count is one too high
	NoItems        Kind = "no-items"        // batch count 0 and no batch item
	NoPayload      Kind = "no-payload"      // success without a response payload
	NoKey          Kind = "no-key"          // the answer to a Get has no key material
	NotResponse    Kind = "not-response"    // a well-formed request message instead of a response
	Oversize       Kind = "oversize"        // a length of 2 GiB
	Endless        Kind = "endless"         // structures nested 10 000 deep
	BadLength      Kind = "bad-length"      // an inner item is longer than the structure around it
	BadPadding     Kind = "bad-padding"     // padding bytes that are not zero
	BadType        Kind = "bad-type"        // the operation is a text
	Garbage        Kind = "garbage"         // an answer in HTTP
)

// place is where in serving a connection a fault strikes.
type place int

const (
	atConnect place = iota
	beforeDoing
	whileDoing
	afterDoing
)

// places also holds what kinds there are.
func places() map[Kind]place {
	return map[Kind]place{
		Reset: atConnect, StallHandshake: atConnect,
		Stall: beforeDoing, Slow: beforeDoing, Hangup: beforeDoing,
		Refuse: whileDoing, Missing: whileDoing, WrongKey: whileDoing,
		LoseAnswer: afterDoing, Cut: afterDoing, Trickle: afterDoing, OtherOperation: afterDoing,
		OtherVersion: afterDoing, WrongCount: afterDoing, NoItems: afterDoing, NoPayload: afterDoing, NoKey: afterDoing,
		NotResponse: afterDoing, Oversize: afterDoing, Endless: afterDoing, BadLength: afterDoing,
		BadPadding: afterDoing, BadType: afterDoing, Garbage: afterDoing,
	}
}

// Kinds lists all kinds, sorted.
func Kinds() []Kind {
	var all []Kind
	for k := range places() {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}

// MalformedKinds lists those kinds after which a client has read an answer that it must not believe.
func MalformedKinds() []Kind {
	return []Kind{
		Cut, OtherOperation, OtherVersion, WrongCount, NoItems, NoPayload, NoKey, NotResponse, Oversize, Endless,
		BadLength, BadPadding, BadType, Garbage,
	}
}

// Fault is one misbehaviour.
type Fault struct {
	Kind Kind
	// Operation limits the fault to requests whose first batch item has it, written as in the specification without
	// blanks ("GetAttributes"); empty for all. Faults of connections have none.
	Operation string
	ID        string        // Missing, WrongKey: this object only; empty for all
	Delay     time.Duration // Slow, Trickle
	Bytes     int           // Cut; 0 sends nothing
	Times     int           // how often it strikes; 0 until ClearFaults
	Status    string        // Refuse; "OperationFailed" when empty
	Reason    string        // Refuse; "GeneralFailure" when empty
	Message   string        // Refuse
}

// Break adds faults. Of those that strike at the same point of a request the first one added does.
func (s *Server) Break(faults ...Fault) error {
	for i := range faults {
		if err := faults[i].check(); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range faults {
		s.faults = append(s.faults, &f)
	}
	return nil
}

// ClearFaults has the server behave again. What waits already goes on waiting until its client gives up.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// take answers the fault that strikes at p, or nil, and counts it.
func (s *Server) take(p place, operation string) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.faults) == 0 {
		return nil
	}
	where := places()
	for i, f := range s.faults {
		if where[f.Kind] != p || f.Operation != "" && f.Operation != operation {
			continue
		}
		struck := *f
		switch f.Times {
		case 0:
		case 1:
			s.faults = slices.Delete(s.faults, i, i+1)
		default:
			f.Times--
		}
		return &struck
	}
	return nil
}

// ParseFault reads a fault from text: KIND[:OPERATION][,KEY=VALUE...] with the keys id, delay, bytes, times, status,
// reason and message, such as "slow:Get,delay=2s" or "refuse:Create,reason=PermissionDenied,times=3".
func ParseFault(text string) (Fault, error) {
	head, rest, _ := strings.Cut(text, ",")
	kind, op, _ := strings.Cut(head, ":")
	f := Fault{Kind: Kind(kind), Operation: op}
	for rest != "" {
		var pair string
		pair, rest, _ = strings.Cut(rest, ",")
		key, value, _ := strings.Cut(pair, "=")
		if err := f.set(key, value); err != nil {
			return Fault{}, fmt.Errorf("fault %q: %w", text, err)
		}
	}
	if err := f.check(); err != nil {
		return Fault{}, fmt.Errorf("fault %q: %w", text, err)
	}
	return f, nil
}

func (f *Fault) set(key, value string) (err error) {
	switch key {
	case "id":
		f.ID = value
	case "delay":
		f.Delay, err = time.ParseDuration(value)
	case "bytes":
		f.Bytes, err = strconv.Atoi(value)
	case "times":
		f.Times, err = strconv.Atoi(value)
	case "status":
		f.Status = value
	case "reason":
		f.Reason = value
	case "message":
		f.Message = value
	default:
		err = fmt.Errorf("%q is none of id, delay, bytes, times, status, reason, message", key)
	}
	return err
}
