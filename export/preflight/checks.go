package preflight

// readiness is the managed component that mends what can be mended in a system that runs: builder/component/managed.
const readiness = "ec2-readiness-linux"

// Checks lists every check by id. Letters tell what is looked at: A the file, B partitions and file systems, C the boot loader and kernel, D drivers
// and the kernel's command line, E configuration, F identity and secrets, R readiness beyond these. G are those of the account (package vmimport).
func Checks() []Check {
	return []Check{
		containerFormat(),
		streamOptimized(),
		vhdFooters(),
		ovaLayout(),
		diskSize(),
		selfContained(),
		partitionTable(),
		rootFileSystem(),
		subvolumes(),
		notEncrypted(),
		oneSystem(),
		wholeGroups(),
		cleanFileSystems(),
		freeSpace(),
		rootLast(),
		oneMenu(),
		savedEntry(),
		bootMode(),
		defaultKernel(),
		supportedSystem(),
		rightArchitecture(),
		nvmeDriver(),
		enaDriver(),
		xenDrivers(),
		kernelOptions(),
		fstab(),
		networkAnywhere(),
		cloudInit(),
		login(),
		growsRoot(),
		ownIdentity(),
		secrets(),
		kernelRoot(),
		serialConsole(),
		bootModeOfAMI(),
		newestByDefault(),
		clockAndAgents(),
		securityLabels(),
		checkedFileSystems(),
	}
}
