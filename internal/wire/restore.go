package wire

// BackupRestore says what a restore has written, and what it has not.
type BackupRestore struct {
	Snapshot    BackupSnapshot `json:"snapshot"`
	Destination string         `json:"destination"`
	Files       int64          `json:"files"`      // whole and in place
	Folders     int64          `json:"folders"`    // with their attributes
	Links       int64          `json:"links"`      // symbolic
	HardLinks   int64          `json:"hard_links"` // to files of the same copy
	Specials    int64          `json:"specials"`   // pipes and devices
	Same        int64          `json:"same"`       // of Files: were there already
	Bytes       int64          `json:"bytes"`      // of content
	Removed     int64          `json:"removed"`    // the copy does not have them
	Missing     int64          `json:"missing"`    // not in place
	Incomplete  int64          `json:"incomplete"` // in place without some attributes
	// Held back, because the caller lacks the rights or did not ask for it.
	Held BackupHeld `json:"held"`
	// Problems are the first hundred of Missing and Incomplete.
	Problems []BackupSkipped `json:"problems"`
	Last     string          `json:"last,omitempty"` // the last path in place
	// Complete: the copy came to its end and everything was dealt with.
	Complete bool `json:"complete"`
}

// BackupHeld counts what a restore has held back.
type BackupHeld struct {
	Owners  int64 `json:"owners"`
	SetID   int64 `json:"setid"`
	Devices int64 `json:"devices"`
	Sockets int64 `json:"sockets"`
	Xattrs  int64 `json:"xattrs"`
}
