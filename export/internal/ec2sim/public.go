package ec2sim

// blockState is what an account's region says about public images: block-new-sharing or unblocked, the default of accounts that have had public images.
func (s *Server) blockState(c *call) ([]element, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := "unblocked"
	if s.blocked[c.place()] {
		state = "block-new-sharing"
	}
	return []element{text("imageBlockPublicAccessState", state), text("managedBy", "account")}, nil
}

func (s *Server) blockPublic(c *call) ([]element, error) {
	if state := c.form.get("ImageBlockPublicAccessState"); state != "block-new-sharing" {
		return nil, refuse("InvalidParameterValue", "Value (%s) for parameter imageBlockPublicAccessState is invalid.", state)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blocked[c.place()] = true
	return []element{text("imageBlockPublicAccessState", "block-new-sharing")}, nil
}

func (s *Server) unblockPublic(c *call) ([]element, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.blocked, c.place())
	return []element{text("imageBlockPublicAccessState", "unblocked")}, nil
}
