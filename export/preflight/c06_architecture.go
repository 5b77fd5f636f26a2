package preflight

import (
	"context"
	"fmt"
)

// The architectures of EC2, in RegisterImage's words.
const (
	x86   = "x86_64"
	arm64 = "arm64"
)

// rightArchitecture compares what the programs and the kernel are made for with what is asked for, or with what EC2 has.
func rightArchitecture() Check {
	return Check{
		ID: "C06", Title: "programs and kernel are of the architecture that is asked for, and that the path takes", Needs: NeedSystem,
		Looks:       "the ELF header of /sbin/init or /bin/sh, and the default kernel's header",
		Levels:      Levels{ImportImage: Fatal, ImportSnapshot: Fatal, EBSDirect: Fatal},
		Prevents:    "no message: instances do not boot",
		Fix:         "register it for the architecture that it has: --architecture, or build it for the one that you want",
		NoComponent: "another architecture is another system: build from a parent image of it",
		look: func(_ context.Context, t *Target) ([]Seen, error) {
			programs, kernel := ec2Architecture(t.Report.System.Architecture), ""
			if k := t.kernel(); k != nil {
				kernel = ec2Architecture(k.Architecture)
			}
			if programs == "" && kernel == "" {
				return nil, fmt.Errorf("neither a program nor a kernel tells the architecture")
			}
			want := ec2Architecture(t.Request.Architecture)
			var seen []Seen
			for _, part := range []struct{ where, is string }{{"/bin/sh, /sbin/init", programs}, {"the default kernel", kernel}} {
				s := Seen{Where: part.where, What: "made for " + part.is}
				switch {
				case part.is == "":
				case want != "" && part.is != want && !(part.is == "i386" && part.where != "the default kernel"): // a 64-bit kernel runs 32-bit programs
					s.What += ", and the AMI is to be " + want
					seen = append(seen, s)
				case part.is != x86 && t.Request.Path == ImportImage:
					s.What += ", and import-image takes x86_64 only"
					s.Prevents, s.Fix = "ClientError: Unsupported kernel version", "import by import-snapshot or ebs-direct"
					seen = append(seen, s)
				case part.is != x86 && part.is != arm64 && part.is != "i386":
					s.What += ", and EC2 has x86_64 and arm64"
					seen = append(seen, s)
				}
			}
			if want == "" && len(seen) == 0 && programs != "" && kernel != "" && programs != kernel && programs != "i386" {
				seen = append(seen, Seen{Where: "the default kernel", What: fmt.Sprintf("made for %s, and the programs are made for %s", kernel, programs)})
			}
			return seen, nil
		},
	}
}

// ec2Architecture is EC2's word for what uname -m says.
func ec2Architecture(machine string) string {
	switch machine {
	case "aarch64":
		return arm64
	case "amd64":
		return x86
	case "i686":
		return "i386"
	}
	return machine
}

// architecture is that of the AMI: what is asked for, or what the system is made for; "" if neither says anything.
func (t *Target) architecture() string {
	switch {
	case t.Request.Architecture != "":
		return ec2Architecture(t.Request.Architecture)
	case t.Report != nil && t.Report.System != nil:
		return ec2Architecture(t.Report.System.Architecture)
	}
	return ""
}
