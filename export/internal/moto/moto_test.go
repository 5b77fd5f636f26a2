package moto

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

func answer(t *testing.T, method, url string) (status int, body string) {
	t.Helper()
	request, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(data)
}

func TestEachTestHasAnEmptyServer(t *testing.T) {
	var first string
	t.Run("one", func(t *testing.T) {
		s := Start(t)
		first = s.URL
		if status, body := answer(t, "PUT", s.URL+"/bucket-of-one"); status != http.StatusOK {
			t.Fatalf("PUT: %d %s", status, body)
		}
		if _, body := answer(t, "GET", s.URL+"/"); !strings.Contains(body, "bucket-of-one") {
			t.Fatalf("no bucket in %s", body)
		}
		if other := Start(t); other.URL == first {
			t.Fatal("a server was given twice")
		}
	})
	t.Run("two", func(t *testing.T) {
		one, two := Start(t), Start(t)
		if one.URL != first && two.URL != first {
			t.Error("a server was not used again")
		}
		for _, s := range []*Server{one, two} {
			if _, body := answer(t, "GET", s.URL+"/"); strings.Contains(body, "bucket-of-one") {
				t.Errorf("a bucket of another test is in %s", body)
			}
		}
	})
}
