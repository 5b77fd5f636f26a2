package ec2sim

import (
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// place is an account's part of a region: where resources are.
type place struct{ account, region string }

func (c *call) place() place { return place{c.Account, c.Region} }

// behind is the configuration of a client that talks to moto, past the front door, as an account.
func (s *Server) behind(p place) aws.Config {
	return aws.Config{
		Region:       p.region,
		BaseEndpoint: &s.options.Moto.URL,
		Credentials:  credentials.NewStaticCredentialsProvider("AKIA"+p.account, secretKey, ""),
		HTTPClient:   &http.Client{Transport: accountTransport{p.account}},
		Retryer: func() aws.Retryer { // a connection that moto closed while a request was on its way is no answer
			return retry.NewStandard(func(o *retry.StandardOptions) {
				o.Retryables = []retry.IsErrorRetryable{retry.RetryableConnectionError{}}
			})
		},
	}
}

type accountTransport struct{ account string }

func (t accountTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set(accountHeader, t.account)
	return http.DefaultTransport.RoundTrip(r)
}

// motoSnapshot makes a snapshot of a size in moto, so that what moto answers knows its id: tags, above all.
func (s *Server) motoSnapshot(p place, sizeGiB int64) (string, error) {
	client := ec2.NewFromConfig(s.behind(p))
	volume, err := client.CreateVolume(s.ctx, &ec2.CreateVolumeInput{AvailabilityZone: aws.String(p.region + "a"), Size: aws.Int32(int32(sizeGiB))})
	if err != nil {
		return "", err
	}
	snapshot, err := client.CreateSnapshot(s.ctx, &ec2.CreateSnapshotInput{VolumeId: volume.VolumeId})
	if err != nil {
		return "", err
	}
	_, err = client.DeleteVolume(s.ctx, &ec2.DeleteVolumeInput{VolumeId: volume.VolumeId})
	return *snapshot.SnapshotId, err
}

// motoImage makes an image in moto, for the same reason.
func (s *Server) motoImage(p place, name string) (string, error) {
	image, err := ec2.NewFromConfig(s.behind(p)).RegisterImage(s.ctx, &ec2.RegisterImageInput{Name: &name})
	if err != nil {
		return "", err
	}
	return *image.ImageId, nil
}

// tag gives tags to a resource, which moto keeps.
func (s *Server) tag(p place, id string, tags map[string]string) error {
	if len(tags) == 0 {
		return nil
	}
	input := &ec2.CreateTagsInput{Resources: []string{id}}
	for key, value := range tags {
		input.Tags = append(input.Tags, types.Tag{Key: &key, Value: &value})
	}
	_, err := ec2.NewFromConfig(s.behind(p)).CreateTags(s.ctx, input)
	return err
}

// tagged are the tags of all resources of a place, by id.
func (s *Server) tagged(p place) (map[string]map[string]string, error) {
	found := map[string]map[string]string{}
	pages := ec2.NewDescribeTagsPaginator(ec2.NewFromConfig(s.behind(p)), &ec2.DescribeTagsInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(s.ctx)
		if err != nil {
			return nil, err
		}
		for _, t := range page.Tags {
			if found[*t.ResourceId] == nil {
				found[*t.ResourceId] = map[string]string{}
			}
			found[*t.ResourceId][*t.Key] = *t.Value
		}
	}
	return found, nil
}

// encryptedByDefault tells the account's setting for EBS.
func (s *Server) encryptedByDefault(p place) (on bool, keyARN string) {
	answer, err := ec2.NewFromConfig(s.behind(p)).GetEbsEncryptionByDefault(s.ctx, nil)
	return err == nil && aws.ToBool(answer.EbsEncryptionByDefault), defaultKey(p)
}

// defaultKey is the key that AWS keeps for EBS.
func defaultKey(p place) string {
	return "arn:aws:kms:" + p.region + ":" + p.account + ":key/aws-ebs"
}
