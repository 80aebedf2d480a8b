package keyring

// HeldForTest answers how many keys are in memory.
func (s *Source) HeldForTest() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.held)
}
