// Package ami makes Amazon Machine Images of EBS snapshots and brings them to regions and accounts, as EC2 Image Builder's distribution does.
//
// Register makes an AMI of a snapshot, Distribute brings it to where a distribution configuration says and gives it what is said there: names,
// descriptions, tags, keys, launch permissions, deprecation, protection, versions of launch templates, SSM parameters, files in buckets.
//
//	variables := ami.Variables{BuildDate: built, BuildVersion: "3", ImageName: "web", Version: "1.2.0"}
//	name, err := ami.SourceName("eu-west-1", "", configuration.Distributions, variables)
//	imageID, err := ami.Register(ctx, ec2.NewFromConfig(config), ami.RegisterOptions{Name: name, SnapshotID: "snap-0123456789abcdef0",
//		Registration: distribution.Registration{Architecture: "x86_64", BootMode: "uefi-preferred"}, Record: book})
//	results, err := ami.Distribute(ctx, ami.NewAccounts(config), ami.Options{SourceRegion: "eu-west-1", ImageID: imageID,
//		Distributions: configuration.Distributions, Variables: variables, Record: book})
//	var failed *ami.DistributionError
//	if errors.As(err, &failed) {
//		for _, f := range failed.RegionFailures { … } // the other regions have their AMIs
//	}
//
// Nothing is made twice: what was done is in the record, and what is there is compared with what is wanted before every change, so that a second run
// changes only what is missing, with the record or without it. Copies and versions are asked for with client tokens that are recorded first. A command
// that was killed is started again and goes on.
package ami
