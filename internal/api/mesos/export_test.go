package mesos

// Dirty returns how many rows a framework's stream has yet to look at.
func (s *Server) Dirty(framework string) int {
	st := s.streamOf(framework)
	if st == nil {
		return 0
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	return len(st.dirt.offers) + len(st.dirt.tasks)
}
