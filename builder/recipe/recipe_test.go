package recipe

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/export/distribution"
)

// minimal is a valid recipe that tests append to.
const minimal = "name: web-server\nsemanticVersion: 1.0.x\nparentImage: debian-12\n"

func parse(t *testing.T, text string) *Recipe {
	t.Helper()
	r, err := Parse("recipe.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// places gives "LINE:COLUMN FIELD" of each problem of an error, sorted.
func places(t *testing.T, err error) []string {
	t.Helper()
	var problems component.Problems
	if !errors.As(err, &problems) {
		t.Fatalf("the error is %v, not component.Problems", err)
	}
	var all []string
	for _, p := range problems.Sorted() {
		all = append(all, fmt.Sprintf("%d:%d %s", p.Line, p.Column, p.Field))
	}
	return all
}

func TestParseDefaults(t *testing.T) {
	r := parse(t, minimal)
	want := &Recipe{
		File: "recipe.yaml", Name: "web-server", WorkingDirectory: "/tmp",
		SemanticVersion:             r.SemanticVersion,
		ParentImage:                 ParentImage{Kind: ParentDebian, Suite: "bookworm", text: "debian-12"},
		InfrastructureConfiguration: InfrastructureConfiguration{Accelerator: AcceleratorAuto, TerminateInstanceOnFailure: true},
		ImageTestsConfiguration:     ImageTestsConfiguration{ImageTestsEnabled: true, TimeoutMinutes: 720},
		Distribution:                Distribution{Formats: []Format{disk.Raw}},
		positions:                   r.positions,
	}
	if !reflect.DeepEqual(r, want) || r.SemanticVersion.String() != "1.0.x" {
		t.Errorf("got  %+v\nwant %+v", r, want)
	}
}

func TestParseEverything(t *testing.T) {
	r := parse(t, `
name: Web Server
description: everything a recipe can have
semanticVersion: "2.1.0"
parentImage: {url: "https://images.example/base.qcow2", sha256: `+strings.Repeat("AB", 32)+`}
components:
  - componentArn: ./install.yaml
    parameters:
      - {name: Port, value: [8080]}
      - {name: Debug, value: true}
      - {name: Greeting, value: ["hello: world"]}
  - componentArn: arn:aws:imagebuilder:us-east-1:aws:component/update-linux/x.x.x
  - {componentArn: hardening/1.2.x}
blockDeviceMappings:
  - deviceName: /dev/xvda
    ebs: {volumeSize: 20, volumeType: gp3, iops: 3000, throughput: 125, encrypted: true, deleteOnTermination: false, kmsKeyId: k, snapshotId: s}
  - {deviceName: /dev/xvdb, virtualName: ephemeral0}
  - {deviceName: /dev/xvdc, noDevice: ""}
workingDirectory: /var/tmp
additionalInstanceConfiguration:
  systemsManagerAgent: {uninstallAfterBuild: true}
  userDataOverride: IyEvYmluL3NoCg==
amiTags: {Team: platform, Cost: 12}
amiWatermarks: [golden]
tags: &tags {empty: "", purpose: test}
infrastructureConfiguration:
  vcpus: 4
  memory: 4 GiB
  accelerator: tcg
  terminateInstanceOnFailure: false
  instanceTypes: [m7i.large]
  instanceProfileName: builder
  resourceTags: *tags
imageTestsConfiguration: {imageTestsEnabled: false, timeoutMinutes: 60}
distribution:
  formats: [vmdk, raw, qcow2, vhd]
  folder: out/images
  distributions:
    - {region: eu-central-1, amiDistributionConfiguration: {name: "web {{ imagebuilder:buildDate }}"}}
`)
	yes, no := true, false
	check := func(what string, got, want any) {
		t.Helper()
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %+v, want %+v", what, got, want)
		}
	}
	check("parent", r.ParentImage.String(), "https://images.example/base.qcow2#sha256="+strings.Repeat("ab", 32))
	check("component count", len(r.Components), 3)
	var given []string
	for _, p := range r.Components[0].Parameters {
		given = append(given, p.Name+"="+p.Value)
	}
	check("parameters", given, []string{"Port=8080", "Debug=true", "Greeting=hello: world"})
	check("path", r.Components[0].ComponentARN.Path, "./install.yaml")
	check("managed", r.Components[1].ComponentARN.Reference.String(), "update-linux/x.x.x")
	check("managed only", r.Components[1].ComponentARN.ManagedOnly, true)
	check("reference", r.Components[2].ComponentARN.Reference.String(), "hardening/1.2.x")
	check("root", *r.BlockDeviceMappings[0].EBS, EBS{VolumeSize: 20, VolumeType: "gp3", IOPS: 3000, Throughput: 125, Encrypted: &yes,
		DeleteOnTermination: &no, KMSKeyID: "k", SnapshotID: "s"})
	check("agent", r.AdditionalInstanceConfiguration.SystemsManagerAgent.UninstallAfterBuild, true)
	check("AMI tags", r.AMITags, map[string]string{"Team": "platform", "Cost": "12"})
	check("watermarks", r.AMIWatermarks, []string{"golden"})
	check("tags", r.Tags, map[string]string{"empty": "", "purpose": "test"})
	check("infrastructure", r.InfrastructureConfiguration, InfrastructureConfiguration{VCPUs: 4, MemoryMiB: 4096, Accelerator: AcceleratorTCG,
		AWS: map[string]json.RawMessage{"instanceTypes": json.RawMessage(`["m7i.large"]`), "instanceProfileName": json.RawMessage(`"builder"`),
			"resourceTags": json.RawMessage(`{"empty":"","purpose":"test"}`)}})
	check("tests", r.ImageTestsConfiguration, ImageTestsConfiguration{TimeoutMinutes: 60})
	check("formats", r.Distribution.Formats, []Format{disk.VMDK, disk.Raw, disk.Qcow2, disk.VHD})
	check("folder", r.Distribution.Folder, "out/images")
	r.Distribution.Configuration.Origin = nil
	check("distributions", r.Distribution.Configuration, &distribution.Configuration{Distributions: []distribution.Distribution{
		{Region: "eu-central-1", AMI: &distribution.AMI{Name: "web {{ imagebuilder:buildDate }}"}}}})
}

// Each recipe has the mistakes whose places are listed, and no others.
func TestParseMistakes(t *testing.T) {
	long := strings.Repeat("  - componentArn: a.yaml\n", MaxComponents+1)
	for _, c := range []struct {
		name, text string
		places     []string
		contains   string
	}{
		{"empty", "", []string{"1:1 "}, "is empty"},
		{"only a comment", "# nothing\n", []string{"1:1 "}, "is empty"},
		{"a list", "- name: x\n", []string{"1:1 "}, "is a list; it must be a mapping"},
		{"a word", "hello", []string{"1:1 "}, `the string "hello"`},
		{"a syntax error", "name: web-server\nsemanticVersion: [1.0.0\n", []string{"2:1 "}, "invalid YAML"},
		{"an open list", minimal + "components: [a\ntags: {}\n", []string{"4:1 "}, "',' or ']'"},
		{"a bad indent", minimal + "components:\n - a\n b: 2\n", []string{"5:1 "}, "'-' indicator"},
		{"a nested mapping", minimal + "tags: a: b\n", []string{"4:1 "}, "mapping values are not allowed"},
		{"an open string", minimal + "description: \"abc\n", []string{"4:1 "}, "end of stream"},
		{"a tab", minimal + "tags:\n\ta: b\n", []string{"5:1 "}, "tab"},
		{"an unknown anchor", minimal + "tags: *none\n", []string{"4:1 "}, "unknown anchor"},
		{"a control character", minimal + "description: \x01\n", []string{"4:1 "}, "U+0001"},
		{"no UTF-8", minimal + "\ndescription: \xff\n", []string{"5:1 "}, "not text in UTF-8"},
		{"two documents", minimal + "---\nname: other\n", []string{"4:1 "}, "second YAML document"},
		{"nothing required", "description: x\n", []string{"1:1 name", "1:1 semanticVersion", "1:1 parentImage"}, "is missing"},
		{"no values", "name:\nsemanticVersion: ''\nparentImage: ~\n", []string{"1:6 name", "2:18 semanticVersion", "3:14 parentImage"}, "has no value"},
		{"a number as version", "name: web-server\nsemanticVersion: 1.0\nparentImage: debian-12\n", []string{"2:18 semanticVersion"}, "put it in quotes"},
		{"a version with a gap", "name: web-server\nsemanticVersion: 1.x.8\nparentImage: debian-12\n", []string{"2:18 semanticVersion"}, "right of an x"},
		{"a version with a build", "name: web-server\nsemanticVersion: 1.0.0/3\nparentImage: debian-12\n", []string{"2:18 semanticVersion"}, "build number"},
		{"a bad name", "name: web/server\nsemanticVersion: 1.0.0\nparentImage: debian-12\n", []string{"1:7 name"}, "not allowed"},
		{"an unknown key", minimal + "compnents: []\n", []string{"4:1 compnents"}, "did you mean components?"},
		{"a misplaced key", minimal + "formats: [raw]\n", []string{"4:1 formats"}, "it belongs under distribution"},
		{"a repeated key", minimal + "name: other\n", []string{"4:1 name"}, "already on line 1"},
		{"a merge key", minimal + "tags: &t {a: b}\namiTags:\n  <<: *t\n", []string{"6:3 amiTags.<<"}, "merge keys"},
		{"a list as a key", minimal + "? [a]\n: b\n", []string{"4:3 "}, "key is not a string"},
		{"too many components", minimal + "components:\n" + long, []string{"5:3 components"}, "at most 20"},
		{"components as a mapping", minimal + "components: {a: b}\n", []string{"4:13 components"}, "must be a list"},
		{"a component as a string", minimal + "components: [update-linux]\n", []string{"4:14 components[0]"}, "must be a mapping with componentArn"},
		{"no componentArn", minimal + "components: [{}]\n", []string{"4:14 components[0].componentArn"}, "is missing"},
		{"a misspelt componentArn", minimal + "components:\n  - componentARN: a.yaml\n", []string{"5:5 components[0].componentARN"}, "did you mean componentArn?"},
		{"an own ARN", minimal + "components: [{componentArn: 'arn:aws:imagebuilder:eu-west-1:123456789012:component/x/1.0.0/1'}]\n", []string{"4:29 components[0].componentArn"}, "exists only in AWS"},
		{"a component in S3", minimal + "components: [{componentArn: 's3://bucket/x.yaml'}]\n", []string{"4:29 components[0].componentArn"}, "not on this machine"},
		{"a component with a bad version", minimal + "components: [{componentArn: hardening/1.x.1}]\n", []string{"4:29 components[0].componentArn"}, "right of an x"},
		{"two values", minimal + "components:\n  - componentArn: a.yaml\n    parameters:\n      - {name: A, value: [b, c]}\n      - {name: A, value: []}\n", []string{"7:26 components[0].parameters[0].value", "8:26 components[0].parameters[1].value"}, "exactly one"},
		{"a parameter twice", minimal + "components:\n  - componentArn: a.yaml\n    parameters:\n      - {name: A, value: b}\n      - {name: A, value: c}\n", []string{"8:9 components[0].parameters[1]"}, "given twice"},
		{"a parameter without value", minimal + "components:\n  - componentArn: a.yaml\n    parameters:\n      - name: A\n      - name: B\n        value: ''\n", []string{"7:9 components[0].parameters[0].value", "9:16 components[0].parameters[1].value"}, "is missing"},
		{"a long value", minimal + "components:\n  - componentArn: a.yaml\n    parameters: [{name: A, value: " + strings.Repeat("a", 1025) + "}]\n", []string{"6:35 components[0].parameters[0].value"}, "1024"},
		{"EBS ranges", minimal + "blockDeviceMappings:\n- deviceName: /dev/xvda\n  ebs: {volumeSize: 0, iops: 99, throughput: 1001, volumeType: gp4, encrypted: maybe}\n", []string{
			"6:21 blockDeviceMappings[0].ebs.volumeSize", "6:30 blockDeviceMappings[0].ebs.iops", "6:46 blockDeviceMappings[0].ebs.throughput",
			"6:64 blockDeviceMappings[0].ebs.volumeType", "6:80 blockDeviceMappings[0].ebs.encrypted"}, "did you mean gp2?"},
		{"two root devices", minimal + "blockDeviceMappings: [{deviceName: /dev/xvda}, {deviceName: /dev/sda1}, {deviceName: /dev/xvda}]\n", []string{"4:61 blockDeviceMappings[1].deviceName", "4:86 blockDeviceMappings[2].deviceName"}, "means the root device"},
		{"a relative working directory", minimal + "workingDirectory: tmp\n", []string{"4:19 workingDirectory"}, "absolute"},
		{"user data", minimal + "additionalInstanceConfiguration: {userDataOverride: '#!/bin/sh'}\n", []string{"4:53 additionalInstanceConfiguration.userDataOverride"}, "base64"},
		{"tags", minimal + "tags: {a: [b]}\namiTags: x\n", []string{"4:11 tags.a", "5:10 amiTags"}, "must be a string"},
		{"machine ranges", minimal + "infrastructureConfiguration: {vcpus: 0, memory: 64, accelerator: hvf}\n", []string{"4:38 infrastructureConfiguration.vcpus", "4:49 infrastructureConfiguration.memory", "4:66 infrastructureConfiguration.accelerator"}, "auto, kvm, tcg"},
		{"memory as text", minimal + "infrastructureConfiguration: {memory: lots}\n", []string{"4:39 infrastructureConfiguration.memory"}, "2GiB"},
		{"too much memory", minimal + "infrastructureConfiguration: {memory: 999999999TiB}\n", []string{"4:39 infrastructureConfiguration.memory"}, "from 256 MiB"},
		{"test limits", minimal + "imageTestsConfiguration: {timeoutMinutes: 1441, imageTestsEnabled: 'yes'}\n", []string{"4:43 imageTestsConfiguration.timeoutMinutes", "4:68 imageTestsConfiguration.imageTestsEnabled"}, "true or false"},
		{"formats", minimal + "distribution: {formats: [raw, raw, vdmk]}\n", []string{"4:31 distribution.formats[1]", "4:36 distribution.formats[2]"}, "did you mean vmdk?"},
		{"no formats", minimal + "distribution: {formats: []}\n", []string{"4:25 distribution.formats"}, "names no format"},
		{"formats as text", minimal + "distribution: {formats: raw}\n", []string{"4:25 distribution.formats"}, "must be a list"},
		{"an alias of itself", minimal + "tags: &a {x: *a}\n", []string{"1:1 "}, "nests"},
		{"a bomb of aliases", minimal + bomb(), []string{"1:1 "}, "aliases expanded"},
		{"deep nesting", minimal + "tags: " + strings.Repeat("[", 50) + strings.Repeat("]", 50) + "\n", []string{"1:1 "}, "deep"},
		{"a large file", minimal + "#" + strings.Repeat("x", MaxFileSize), []string{"1:1 "}, "larger than"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse("recipe.yaml", []byte(c.text))
			if err == nil {
				t.Fatal("no mistakes were found")
			}
			if got := places(t, err); !slices.Equal(got, c.places) {
				t.Errorf("mistakes at %q\nwant %q\n%v", got, c.places, err)
			}
			if !strings.Contains(err.Error(), c.contains) {
				t.Errorf("messages\n%v\nlack %q", err, c.contains)
			}
		})
	}
}

// bomb is a mapping that grows tenfold with each of its lines when aliases are expanded.
func bomb() string {
	text := "tags: {a0: &a0 [x]"
	for i := range 10 {
		text += fmt.Sprintf(", a%d: &a%d [%s*a%d]", i+1, i+1, strings.Repeat(fmt.Sprintf("*a%d, ", i), 9), i)
	}
	return text + "}\n"
}

func TestParseParent(t *testing.T) {
	sum := strings.Repeat("0f", 32)
	for text, want := range map[string]ParentImage{
		"debian-12":                             {Kind: ParentDebian, Suite: "bookworm"},
		"debian-13":                             {Kind: ParentDebian, Suite: "trixie"},
		"debian-bookworm":                       {Kind: ParentDebian, Suite: "bookworm"},
		"debian-sid":                            {Kind: ParentDebian, Suite: "sid"},
		"./debian-12":                           {Kind: ParentFile, Path: "./debian-12"},
		"../images/base":                        {Kind: ParentFile, Path: "../images/base"},
		"/srv/base.img":                         {Kind: ParentFile, Path: "/srv/base.img"},
		"images/base.QCOW2":                     {Kind: ParentFile, Path: "images/base.QCOW2"},
		"base.vmdk":                             {Kind: ParentFile, Path: "base.vmdk"},
		"https://a.example/x.raw#sha256=" + sum: {Kind: ParentURL, URL: "https://a.example/x.raw", SHA256: sum},
		"https://a.example/x.vhd?signature=secret#sha256=" + sum: {Kind: ParentURL, URL: "https://a.example/x.vhd?signature=secret", SHA256: sum},
	} {
		r := parse(t, "name: web-server\nsemanticVersion: 1.0.0\nparentImage: "+text+"\n")
		want.text = strings.Replace(text, "?signature=secret", "", 1) // what is shown
		if r.ParentImage != want {
			t.Errorf("%s is %+v, want %+v", text, r.ParentImage, want)
		}
	}
	if p := parse(t, "name: web-server\nsemanticVersion: 1.0.0\nparentImage: Debian-12/x.x.x\n").ParentImage; p.Kind != ParentEarlier || p.String() != "debian-12/x.x.x" {
		t.Errorf("an earlier image is %+v", p)
	}
	for text, want := range map[string]string{
		"http://a.example/x#sha256=" + sum:                 "plain http is refused",
		"ftp://a.example/x#sha256=" + sum:                  "https://",
		"https://a.example/x":                              "has no sha256",
		"https://a.example/x.raw#sha256=12":                "64 hexadecimal",
		"https://a.example/x#md5=12":                       "has no sha256",
		"https:///x#sha256=" + sum:                         "names no host",
		"https://u:hunter2@a.example/x#sha256=" + sum:      "user name or password",
		"'https://a.example/%zz#sha256=" + sum + "'":       "not a valid URL",
		"{url: 'https://a.example/x'}":                     "parentImage.sha256: is missing",
		"{url: 'https://a.example/x.raw', sha256: xyz}":    "parentImage.sha256: the sha256",
		"{url: 'http://a.example/x', sha256: " + sum + "}": "parentImage.url: plain http",
		"ami-0123456789":                                   "exists only in AWS",
		"ssm:/golden/ami":                                  "exists only in AWS",
		"arn:aws:imagebuilder:x:aws:image/y":               "exists only in AWS",
		"web-server":                                       "is no parent image",
		"debian12":                                         "did you mean debian-12?",
		"debian-99":                                        "no Debian suite",
		"debian-../../etc":                                 "not allowed",
		"web-server/1.x.1":                                 "right of an x",
		"[debian-12]":                                      "is a list",
		"12":                                               "is the number 12",
	} {
		_, err := Parse("recipe.yaml", []byte("name: web-server\nsemanticVersion: 1.0.0\nparentImage: "+text+"\n"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the message repeats a password: %v", text, err)
		}
	}
}

func TestMemory(t *testing.T) {
	for text, want := range map[string]int{"1024": 1024, "2GiB": 2048, "2 GB": 2048, "512M": 512, "1TiB": 1 << 20} {
		r := parse(t, minimal+"infrastructureConfiguration: {memory: "+text+"}\n")
		if got := r.InfrastructureConfiguration.MemoryMiB; got != want {
			t.Errorf("%s is %d MiB, want %d", text, got, want)
		}
	}
}

// A problem found later gets the place of the nearest field that is in the file.
func TestProblem(t *testing.T) {
	r := parse(t, minimal+"distribution:\n  formats: [raw]\n")
	for field, want := range map[string]int{"parentImage": 3, "distribution.folder": 5, "distribution.formats[0]": 5, "tags.x": 1, "": 1} {
		if p := r.Problem(field, "x", ""); p.Line != want || p.File != "recipe.yaml" || p.Field != field {
			t.Errorf("%q is %+v, want line %d", field, p, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("../../testdata/recipes/*.yaml")
	if err != nil || len(files) == 0 {
		f.Fatal("no recipes to start from", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(minimal + bomb()))
	f.Add([]byte(minimal + "tags: &a {x: *a}\n"))
	f.Add([]byte(minimal + "distribution: {distributions: [{a: !!binary x, 1: .nan}]}\n"))
	f.Add([]byte("? [a]\n: b\n? {}\n: *x\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Parse("f", data)
		if err == nil {
			if r.Name == "" || r.SemanticVersion.IsZero() || r.ParentImage.Kind == "" || len(r.Distribution.Formats) == 0 {
				t.Fatalf("accepted without what it needs: %+v", r)
			}
			return
		}
		var problems component.Problems
		if !errors.As(err, &problems) || len(problems) == 0 {
			t.Fatalf("the error is %v", err)
		}
		for _, p := range problems {
			if p.Line < 1 || p.Message == "" || len(p.String()) > 4096 {
				t.Fatalf("problem without a place: %+v", p)
			}
		}
	})
}
