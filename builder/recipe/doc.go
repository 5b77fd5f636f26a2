// Package recipe reads recipe files and resolves them to plans.
//
// A recipe file is YAML in the words of EC2 Image Builder: the keys of an image recipe, and three parts beside them.
//
//	name: web-server
//	semanticVersion: 1.0.x              # 1.0.x takes the next patch version at each build
//	parentImage: debian-12              # see ParentImage for the other spellings
//	components:                         # run in this order; see ComponentReference
//	  - componentArn: ./install.yaml
//	    parameters:
//	      - {name: Greeting, value: [hello]}
//	  - componentArn: update-linux
//	blockDeviceMappings:
//	  - {deviceName: /dev/xvda, ebs: {volumeSize: 8}}    # GiB; grows the root disk
//	workingDirectory: /tmp
//
//	infrastructureConfiguration:        # the VM that builds and tests
//	  vcpus: 2
//	  memory: 2GiB                      # or MiB as a number
//	  accelerator: auto                 # auto, kvm or tcg
//	  terminateInstanceOnFailure: true
//	imageTestsConfiguration:
//	  imageTestsEnabled: true
//	  timeoutMinutes: 720               # 60 to 1440
//	distribution:
//	  formats: [raw]                    # or vmdk, ova, ...: disk.Formats
//	  folder: out                       # relative to the recipe
//
// Only name, semanticVersion and parentImage must be there; the values above are otherwise the defaults, but that there
// are no components, that the root disk stays as large as the parent's, and that the command chooses the folder. Keys of
// the service that mean nothing on this machine (description, tags, amiTags, amiWatermarks,
// additionalInstanceConfiguration, all of an infrastructure or distribution configuration) are accepted and kept, so
// that a recipe moves to AWS and back.
//
// Load does all: it reads the file, reads and checks the component documents it names, resolves wildcards and pins every
// input by its digest. The result, a Plan, is plain data.
//
//	plan, err := recipe.Load(ctx, "web-server.yaml", recipe.Environment{
//		Modules: action.Modules(),
//		Managed: recipe.ManagedComponents{Names: managed.Names, Lookup: managed.Lookup},
//	})
//	var problems component.Problems
//	if errors.As(err, &problems) {
//		// every mistake of the recipe and its documents, with file, line, column and field
//	}
//
// A recipe is input from a stranger: its size, depth, aliases and lists are bounded, only regular files are opened, and
// nothing is fetched or run.
package recipe
