// Package action holds the action modules of EC2 Image Builder's component documents, one file each. The comment on top of the inputs of
// an action is its reference for users.
//
//	document, err := component.Parse("hello.yml", data, action.Modules())
package action

import "github.com/ingot-image/ingot/builder/component"

// Modules returns the actions by their names in documents.
func Modules() component.Modules {
	return component.Modules{
		"AppendFile":         component.ListModule[AppendFile](component.Spec{}),
		"Assert":             component.MapModule[Assert](component.Spec{}),
		"CopyFile":           component.ListModule[CopyFile](component.Spec{}),
		"CreateFile":         component.ListModule[CreateFile](component.Spec{}),
		"CreateFolder":       component.ListModule[CreateFolder](component.Spec{}),
		"DeleteFile":         component.ListModule[DeleteFile](component.Spec{}),
		"ExecuteBash":        component.MapModule[ExecuteBash](component.Spec{Outputs: []string{"stdout"}}),
		"ExecuteBinary":      component.MapModule[ExecuteBinary](component.Spec{Outputs: []string{"stdout"}}),
		"ExecutePowerShell":  component.MapModule[ExecutePowerShell](component.Spec{Outputs: []string{"stdout"}, Platforms: []string{"windows"}}),
		"InstallMSI":         component.MapModule[InstallMSI](component.Spec{Outputs: []string{"logFile", "msiExitCode", "stdout"}, Platforms: []string{"windows"}}),
		"Reboot":             component.MapModule[Reboot](component.Spec{InputsOptional: true, Platforms: []string{"linux", "windows"}}),
		"SetFileOwner":       component.ListModule[SetFileOwner](component.Spec{}),
		"SetFilePermissions": component.ListModule[SetFilePermissions](component.Spec{}),
		"SetRegistry":        component.ListModule[SetRegistry](component.Spec{Platforms: []string{"windows"}}),
		"UninstallMSI":       component.MapModule[UninstallMSI](component.Spec{Outputs: []string{"logFile", "msiExitCode", "stdout"}, Platforms: []string{"windows"}}),
		"UpdateOS":           component.MapModule[UpdateOS](component.Spec{InputsOptional: true, Platforms: []string{"linux", "windows"}}),
		"WebDownload":        component.ListModule[WebDownload](component.Spec{Outputs: []string{"destination"}}),
	}
}
