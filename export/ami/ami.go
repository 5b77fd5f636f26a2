// Package ami makes Amazon Machine Images of EBS snapshots and brings them to regions and accounts, as EC2 Image Builder's distribution does.
//
// Register makes an AMI of a snapshot:
//
//	name, err := ami.Name("web {{ imagebuilder:buildDate }}", variables)
//	imageID, err := ami.Register(ctx, ec2.NewFromConfig(config), ami.RegisterOptions{Name: name, SnapshotID: "snap-…",
//		Registration: distribution.Registration{Architecture: "x86_64", BootMode: "uefi-preferred"}, Record: book})
//
// Nothing is made twice: what was done is in the record, and what is there is compared with what is wanted before every change. A command that was killed
// is started again and goes on.
package ami
