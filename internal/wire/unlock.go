package wire

// KeyFolderRequest is the request of keyserver/folder-encrypt, folder-unlock and
// folder-lock. Name is what the key is kept as, fscrypt/NAME; folder-unlock
// finds it by itself.
type KeyFolderRequest struct {
	Dir  string `json:"dir"` // absolute
	Name string `json:"name,omitempty"`
}

// KeyFolder is a folder that the kernel encrypts.
type KeyFolder struct {
	Dir   string `json:"dir"`
	Name  string `json:"name"`
	Key   string `json:"key"`   // what the kernel calls its key, 32 hexadecimal digits
	State string `json:"state"` // absent (locked), present (unlocked), incompletely removed
}

// KeyVolumeRequest is the request of keyserver/volume-rekey. Key is what opens
// the volume now; not needed once one is kept.
type KeyVolumeRequest struct {
	Device string `json:"device"` // absolute
	Name   string `json:"name"`
	Key    []byte `json:"key,omitempty"`
}

// KeyVolume is a LUKS2 volume whose key is kept sealed, as luks/NAME.
type KeyVolume struct {
	Device string `json:"device"`
	Name   string `json:"name"`
	Slots  []int  `json:"slots"` // of its header, in use
}
