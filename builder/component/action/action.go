// Package action holds the action modules of EC2 Image Builder's component documents, one file each. The comment on top of the inputs of
// an action is its reference for users.
//
//	document, err := component.Parse("hello.yml", data, action.Modules())
package action

import "github.com/ingot-image/ingot/builder/component"

// Modules returns the actions by their names in documents.
func Modules() component.Modules {
	return component.Modules{
		"AppendFile":           component.ListModule[AppendFile](component.Spec{}),
		"Assert":               component.MapModule[Assert](component.Spec{}),
		"CopyFile":             component.ListModule[CopyFile](component.Spec{}),
		"CopyFolder":           component.ListModule[CopyFolder](component.Spec{}),
		"CreateFile":           component.ListModule[CreateFile](component.Spec{}),
		"CreateFolder":         component.ListModule[CreateFolder](component.Spec{}),
		"CreateSymlink":        component.ListModule[CreateSymlink](component.Spec{Platforms: []string{"linux", "macOS"}}),
		"DeleteFile":           component.ListModule[DeleteFile](component.Spec{}),
		"DeleteFolder":         component.ListModule[DeleteFolder](component.Spec{}),
		"ExecuteBash":          component.MapModule[ExecuteBash](component.Spec{Outputs: []string{"stdout"}, Platforms: []string{"linux", "macOS"}}),
		"ExecuteBinary":        component.MapModule[ExecuteBinary](component.Spec{Outputs: []string{"stdout"}, Rewrite: sampleExecuteBinary}),
		"ExecuteDocument":      component.MapModule[ExecuteDocument](component.Spec{Outputs: []string{"outputs"}, Unlimited: true}),
		"ExecutePowerShell":    component.MapModule[ExecutePowerShell](component.Spec{Outputs: []string{"stdout"}, Platforms: []string{"windows"}}),
		"InstallMSI":           component.MapModule[InstallMSI](component.Spec{Outputs: []string{"logFile", "msiExitCode", "stdout"}, Platforms: []string{"windows"}}),
		"ListFiles":            component.ListModule[ListFiles](component.Spec{Outputs: []string{"files"}}),
		"MoveFile":             component.ListModule[MoveFile](component.Spec{}),
		"MoveFolder":           component.ListModule[MoveFolder](component.Spec{}),
		"ReadFile":             component.ListModule[ReadFile](component.Spec{Outputs: []string{"content"}}),
		"Reboot":               component.MapModule[Reboot](component.Spec{InputsOptional: true, Platforms: []string{"linux", "windows"}}),
		"S3Download":           component.ListModule[S3Download](component.Spec{}),
		"S3Upload":             component.ListModule[S3Upload](component.Spec{Rewrite: sampleS3Upload}),
		"SetFileEncoding":      component.ListModule[SetFileEncoding](component.Spec{}),
		"SetFileOwner":         component.ListModule[SetFileOwner](component.Spec{Platforms: []string{"linux", "macOS"}}),
		"SetFilePermissions":   component.ListModule[SetFilePermissions](component.Spec{Platforms: []string{"linux", "macOS"}}),
		"SetFolderOwner":       component.ListModule[SetFolderOwner](component.Spec{Platforms: []string{"linux", "macOS"}}),
		"SetFolderPermissions": component.ListModule[SetFolderPermissions](component.Spec{Platforms: []string{"linux", "macOS"}}),
		"SetRegistry":          component.ListModule[SetRegistry](component.Spec{Platforms: []string{"windows"}}),
		"UninstallMSI":         component.MapModule[UninstallMSI](component.Spec{Outputs: []string{"logFile", "msiExitCode", "stdout"}, Platforms: []string{"windows"}}),
		"UpdateOS":             component.MapModule[UpdateOS](component.Spec{InputsOptional: true, Platforms: []string{"linux", "windows"}}),
		"WebDownload":          component.ListModule[WebDownload](component.Spec{Outputs: []string{"destination"}}),
	}
}
