package ec2sim

// ec2Actions are the actions of EC2 that are answered here.
func (s *Server) ec2Actions() map[string]action {
	return map[string]action{}
}
