package extract

import (
	"fmt"
	"strconv"
)

// Problem is one thing that was not restored, or not wholly.
type Problem struct {
	Path string
	Err  error
}

func (p Problem) String() string { return fmt.Sprintf("%s: %v", show(p.Path), p.Err) }

// MaxProblems is the number of problems that a report holds; the counts go on.
const MaxProblems = 100

// Report says what was restored. It is true whenever [To] returns, whatever it returns.
type Report struct {
	Files, Folders, Links, HardLinks, Specials int64 // whole and in place
	Same                                       int64 // of Files: were there already, same size and time (SkipSame)
	Bytes                                      int64 // of content written
	Removed                                    int64 // with Replace: things that the backup does not have
	// Missing counts what is not in place; Incomplete what is, without some of its metadata.
	Missing, Incomplete int64
	// Held is what was held back because the caller lacks the rights or did not ask for it. The content is in place,
	// except for devices and sockets.
	Held Held
	// First are the first problems, of both kinds, in order.
	First []Problem
	// Last is the last path that was put in place, "" for none.
	Last string
	// Complete: the stream came to its end and everything was dealt with.
	Complete bool
}

// Held counts what was held back.
type Held struct {
	Owners  int64 // owner or group other than the caller's
	SetID   int64 // setuid and setgid bits of files
	Devices int64
	Sockets int64 // never restored
	Xattrs  int64 // security.* and trusted.* attributes
}

func (r *Report) missing(path string, err error) {
	r.Missing++
	r.note(path, err)
}

func (r *Report) incomplete(path string, err error) {
	r.Incomplete++
	r.note(path, err)
}

func (r *Report) note(path string, err error) {
	if len(r.First) < MaxProblems {
		r.First = append(r.First, Problem{Path: path, Err: err})
	}
}

// show makes a path fit for one line of text: as it is, or quoted where it holds anything that does not print.
func show(path string) string {
	if quoted := strconv.Quote(path); quoted[1:len(quoted)-1] != path {
		return quoted
	}
	return path
}
