package component

import (
	"context"
	"errors"
	"io"
)

// ParameterStore answers the references {{ aws:ssm:NAME }}. Its implementation holds the credentials; they never come to where a document runs.
type ParameterStore interface {
	// Parameter returns a parameter by its name, such as /prod/db/password, a name with a version or label (NAME:3), or
	// /aws/reference/secretsmanager/ID for a secret of Secrets Manager. An unknown one is [ErrNotFound].
	Parameter(ctx context.Context, name string) (StoredParameter, error)
}

// StoredParameter is a parameter of the Systems Manager Parameter Store.
type StoredParameter struct {
	// Type is String, StringList or SecureString (ssm API, GetParameter).
	Type  string `json:"type"`
	Value string `json:"value"`
}

// Types of a [StoredParameter].
const (
	ParameterString       = "String"
	ParameterStringList   = "StringList"
	ParameterSecureString = "SecureString"
)

// S3 reads and writes objects for the actions S3Download and S3Upload and for documents at s3:// addresses. Its implementation holds the
// credentials; they never come to where a document runs.
type S3 interface {
	// List returns the objects whose keys start with the place's Key, sorted by key. More than limit of them are an error.
	List(ctx context.Context, prefix S3Place, limit int) ([]S3Object, error)
	// Get writes an object to w. An unknown one is [ErrNotFound].
	Get(ctx context.Context, place S3Place, w io.Writer) error
	// Put makes or replaces an object of size bytes.
	Put(ctx context.Context, place S3Place, r io.Reader, size int64) error
}

// S3Place is where an object is, or what the keys of several begin with.
type S3Place struct {
	Bucket string `json:"bucket"`
	Key    string `json:"key"`
	// ExpectedBucketOwner is an account's number of 12 digits; the call fails when the bucket is another's. May be empty.
	ExpectedBucketOwner string `json:"expectedBucketOwner,omitempty"`
}

// S3Object is an object that a listing found.
type S3Object struct {
	Key  string `json:"key"`
	Size int64  `json:"size"` // in bytes
}

// ErrNotFound says that a parameter, an object or a component does not exist.
var ErrNotFound = errors.New("not found")

// ComponentSource answers ExecuteDocument's references to components: the ARN of a component build version, or the name of a component.
type ComponentSource interface {
	// Component returns the document. An unknown one is [ErrNotFound].
	Component(ctx context.Context, arn string) ([]byte, error)
}
