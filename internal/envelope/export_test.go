package envelope

import "os"

// DecodeForTest says whether a record's content is accepted as the header of a thing.
func DecodeForTest(id string, content []byte) error {
	_, err := decode(id, content)
	return err
}

// ParseForTest says whether a file is accepted as a copy of a record.
func ParseForTest(file []byte) error { return parseRecord(file, recordKind).err }

// RecoverySlotForTest answers the age file of a thing's recovery slot.
func RecoverySlotForTest(root *os.Root, id string) ([]byte, error) {
	s, err := load(root, id)
	if err != nil {
		return nil, err
	}
	for _, sl := range s.Slots {
		if sl.Kind == KindRecovery {
			return sl.Wrapped, nil
		}
	}
	return nil, ErrNoRecovery
}
