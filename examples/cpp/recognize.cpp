// What is in this picture: runs a file of `edgerec pack` through ONNX Runtime, with nothing else linked in.
//
//   recognize device.onnx photo.ppm                  binary PPM (P6) or PGM (P5), 8 bits
//   recognize device.ort frame.rgb --raw 640x480     bytes as a camera gives them: RGB, or grey where the model is
//
// Prints one line a class, best first: label, tab, score. The file resizes, normalises and sorts by itself.

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <onnxruntime_cxx_api.h>

namespace {

// As in edgerec's Python: larger images are refused before they cost memory.
constexpr std::int64_t kMaxPixels = 64'000'000;
constexpr const char* kLabelsKey = "edgerec.labels";  // one label a line

using Bytes = std::vector<std::uint8_t>;

struct Options {
  std::string model;
  std::string image;
  std::int64_t raw_width = 0;  // 0: the image is a PPM or PGM file
  std::int64_t raw_height = 0;
  int threads = 1;
};

struct Image {
  std::int64_t width = 0;
  std::int64_t height = 0;
  std::int64_t channels = 0;
  Bytes pixels;  // row by row, channels last
};

[[noreturn]] void fail(const std::string& problem, const std::string& fix) { throw std::runtime_error(problem + "; " + fix); }

std::string by(std::int64_t width, std::int64_t height) { return std::to_string(width) + "x" + std::to_string(height); }

void check_size(std::int64_t width, std::int64_t height, const std::string& name) {
  // Divided, not multiplied: the product of two large numbers overflows.
  if (width < 1 || height < 1 || height > kMaxPixels / width) {
    fail(name + ": " + by(width, height) + " pixels", "an image has 1 to " + std::to_string(kMaxPixels) + " of them");
  }
}

Bytes read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) fail(path + ": cannot be opened", "check the path");
  Bytes data;
  char part[1 << 16];
  while (file.read(part, sizeof part) || file.gcount() > 0) {
    data.insert(data.end(), part, part + file.gcount());
    if (data.size() > 3 * static_cast<std::size_t>(kMaxPixels) + sizeof part) fail(path + ": the file is too large", "shrink the image first");
  }
  if (file.bad()) fail(path + ": cannot be read", "a file is needed, not a folder");
  return data;
}

// Reads the header of a PNM file, whose numbers stand between white space and comments.
class Header {
 public:
  Header(const Bytes& data, std::string name) : data_(data), name_(std::move(name)) {}

  std::int64_t number() {
    skip();
    std::int64_t value = 0;
    const std::size_t start = at_;
    for (; at_ < data_.size() && data_[at_] >= '0' && data_[at_] <= '9'; ++at_) {
      value = value * 10 + (data_[at_] - '0');
      if (value > std::numeric_limits<std::int32_t>::max()) fail(name_ + ": a number in the header is too large", "it is damaged");
    }
    if (at_ == start) fail(name_ + ": the header lacks a number", "it is damaged, or not a binary PPM or PGM file");
    return value;
  }

  // Returns where the pixels start: one white space behind the last number.
  std::size_t end() {
    if (at_ >= data_.size() || !is_space(data_[at_])) fail(name_ + ": the header does not end", "it is damaged");
    return at_ + 1;
  }

 private:
  static bool is_space(std::uint8_t one) { return one == ' ' || (one >= '\t' && one <= '\r'); }

  void skip() {
    while (at_ < data_.size() && (is_space(data_[at_]) || data_[at_] == '#')) {
      if (data_[at_] == '#') {
        while (at_ < data_.size() && data_[at_] != '\n') ++at_;
      } else {
        ++at_;
      }
    }
  }

  const Bytes& data_;
  std::string name_;
  std::size_t at_ = 2;  // behind P5 or P6
};

Image read_pnm(const std::string& path) {
  Bytes data = read_file(path);
  if (data.size() < 2 || data[0] != 'P' || (data[1] != '5' && data[1] != '6')) {
    fail(path + ": not a binary PPM (P6) or PGM (P5) file", "convert it, or give --raw WIDTHxHEIGHT");
  }
  Header header(data, path);
  Image image;
  image.channels = data[1] == '6' ? 3 : 1;
  image.width = header.number();
  image.height = header.number();
  if (header.number() != 255) fail(path + ": not 8 bits a channel", "the number before the pixels must be 255");
  check_size(image.width, image.height, path);
  const std::size_t start = header.end();
  const auto expected = static_cast<std::size_t>(image.width * image.height * image.channels);
  if (data.size() - start < expected) {
    fail(path + ": " + std::to_string(data.size() - start) + " bytes of pixels, " + std::to_string(expected) + " expected", "it is cut off");
  }
  const auto first = data.begin() + static_cast<std::ptrdiff_t>(start);
  image.pixels.assign(first, first + static_cast<std::ptrdiff_t>(expected));
  return image;
}

Image read_raw(const Options& options, std::int64_t channels) {
  Image image;
  image.width = options.raw_width;
  image.height = options.raw_height;
  image.channels = channels;
  image.pixels = read_file(options.image);
  const auto expected = static_cast<std::size_t>(image.width * image.height * channels);
  if (image.pixels.size() != expected) {
    fail(options.image + ": " + std::to_string(image.pixels.size()) + " bytes, " + std::to_string(expected) + " expected for " +
             by(image.width, image.height) + " and " + std::to_string(channels) + " channel(s)",
         "check --raw");
  }
  return image;
}

// Gives the image the model's number of channels, with the integers that Pillow uses (ITU-R 601 luma).
void to_channels(Image& image, std::int64_t channels) {
  if (image.channels == channels) return;
  Bytes other;
  other.reserve(image.pixels.size() / static_cast<std::size_t>(image.channels) * static_cast<std::size_t>(channels));
  if (channels == 3) {
    for (const std::uint8_t grey : image.pixels) other.insert(other.end(), 3, grey);
  } else {
    for (std::size_t at = 0; at + 2 < image.pixels.size(); at += 3) {
      const std::uint32_t luma = image.pixels[at] * 19595U + image.pixels[at + 1] * 38470U + image.pixels[at + 2] * 7471U + 0x8000U;
      other.push_back(static_cast<std::uint8_t>(luma >> 16));
    }
  }
  image.pixels = std::move(other);
  image.channels = channels;
}

// A packed model: one input, uint8 (N, H, W, C); a size below 1 is free.
class Model {
 public:
  explicit Model(const Options& options) : environment_(ORT_LOGGING_LEVEL_FATAL, "recognize"), session_(nullptr) {
    if (!std::filesystem::is_regular_file(options.model)) fail(options.model + ": there is no such model file", "check the path");
    Ort::SessionOptions settings;
    settings.SetIntraOpNumThreads(options.threads);
    settings.SetInterOpNumThreads(1);
    // Between two frames of a camera, waiting threads would turn in a loop and burn the battery.
    settings.AddConfigEntry("session.intra_op.allow_spinning", "0");
    settings.AddConfigEntry("session.inter_op.allow_spinning", "0");
    session_ = Ort::Session(environment_, std::filesystem::path(options.model).c_str(), settings);
    check();
    read_labels();
  }

  std::int64_t channels() const { return shape_[3]; }

  void print(Image& image) {
    const bool fits = (shape_[1] < 1 || shape_[1] == image.height) && (shape_[2] < 1 || shape_[2] == image.width);
    if (!fits) {
      fail("the model takes " + by(shape_[2], shape_[1]) + " pixels only, the image has " + by(image.width, image.height),
           "resize it, or pack the model for any size");
    }
    const std::int64_t shape[] = {1, image.height, image.width, image.channels};
    const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    const auto input = Ort::Value::CreateTensor<std::uint8_t>(memory, image.pixels.data(), image.pixels.size(), shape, 4);
    const char* const taken[] = {input_.c_str()};
    const char* const given[] = {"top_scores", "top_indices"};
    const auto found = session_.Run(Ort::RunOptions{nullptr}, taken, &input, 1, given, 2);
    const std::size_t count = found[0].GetTensorTypeAndShapeInfo().GetElementCount();
    const float* scores = found[0].GetTensorData<float>();
    const std::int64_t* indices = found[1].GetTensorData<std::int64_t>();
    for (std::size_t at = 0; at < count; ++at) std::printf("%s\t%.6f\n", label(indices[at]).c_str(), static_cast<double>(scores[at]));
  }

 private:
  void check() {
    Ort::AllocatorWithDefaultOptions allocator;
    const auto give_up = [] { fail("this is not a packed model", "make one with: edgerec pack model.onnx -o device.onnx"); };
    if (session_.GetInputCount() != 1) give_up();
    const auto type = session_.GetInputTypeInfo(0);
    if (type.GetONNXType() != ONNX_TYPE_TENSOR) give_up();
    const auto tensor = type.GetTensorTypeAndShapeInfo();
    shape_ = tensor.GetShape();
    if (tensor.GetElementType() != ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8 || shape_.size() != 4) give_up();
    if (shape_[3] != 1 && shape_[3] != 3) give_up();
    if (shape_[0] > 1) fail("this model takes " + std::to_string(shape_[0]) + " images at once", "export it for any number of them");
    input_ = session_.GetInputNameAllocated(0, allocator).get();
    int known = 0;
    for (std::size_t at = 0; at < session_.GetOutputCount(); ++at) {
      const std::string name = session_.GetOutputNameAllocated(at, allocator).get();
      const auto kind = session_.GetOutputTypeInfo(at).GetTensorTypeAndShapeInfo().GetElementType();
      known += name == "top_scores" && kind == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
      known += name == "top_indices" && kind == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
    }
    if (known != 2) give_up();
  }

  void read_labels() {
    Ort::AllocatorWithDefaultOptions allocator;
    const auto text = session_.GetModelMetadata().LookupCustomMetadataMapAllocated(kLabelsKey, allocator);
    if (!text) return;
    const char* start = text.get();
    for (const char* end = std::strchr(start, '\n'); end != nullptr; end = std::strchr(start, '\n')) {
      labels_.emplace_back(start, end);
      start = end + 1;
    }
    labels_.emplace_back(start);
  }

  std::string label(std::int64_t index) const {
    const bool known = index >= 0 && static_cast<std::size_t>(index) < labels_.size();
    return known ? labels_[static_cast<std::size_t>(index)] : std::to_string(index);
  }

  Ort::Env environment_;
  Ort::Session session_;
  std::string input_;
  std::vector<std::int64_t> shape_;
  std::vector<std::string> labels_;
};

// Returns the number that a whole text is; -1 for any other text.
std::int64_t whole_number(const std::string& text) {
  if (text.empty() || text.size() > 9 || text.find_first_not_of("0123456789") != std::string::npos) return -1;
  return std::stoll(text);
}

Options parse(const std::vector<std::string>& arguments) {
  Options options;
  std::vector<std::string> files;
  for (std::size_t at = 0; at < arguments.size(); ++at) {
    const std::string& one = arguments[at];
    const bool takes_value = one == "--raw" || one == "--threads";
    if (takes_value && at + 1 == arguments.size()) fail(one + " needs a value", "see the first lines of recognize.cpp");
    if (one == "--raw") {
      const std::string& text = arguments[++at];
      const std::size_t cross = text.find('x');
      options.raw_width = cross == std::string::npos ? -1 : whole_number(text.substr(0, cross));
      options.raw_height = cross == std::string::npos ? -1 : whole_number(text.substr(cross + 1));
      if (options.raw_width < 0 || options.raw_height < 0) fail("--raw " + text + ": not a size", "give --raw WIDTHxHEIGHT");
      check_size(options.raw_width, options.raw_height, "--raw " + text);
    } else if (one == "--threads") {
      const std::int64_t count = whole_number(arguments[++at]);
      if (count < 1 || count > 1024) fail("--threads " + arguments[at], "give 1 to 1024");
      options.threads = static_cast<int>(count);
    } else if (one.rfind("--", 0) == 0) {
      fail("unknown option " + one, "there are --raw WIDTHxHEIGHT and --threads N");
    } else {
      files.push_back(one);
    }
  }
  if (files.size() != 2) fail("a model and an image are needed", "recognize device.onnx photo.ppm");
  options.model = files[0];
  options.image = files[1];
  return options;
}

}  // namespace

int main(int count, char** values) {
  try {
    const Options options = parse(std::vector<std::string>(values + 1, values + count));
    Model model(options);
    Image image = options.raw_width > 0 ? read_raw(options, model.channels()) : read_pnm(options.image);
    to_channels(image, model.channels());
    model.print(image);
  } catch (const std::exception& error) {  // Ort::Exception among them
    std::cerr << "error: " << error.what() << '\n';
    return 1;
  }
  return 0;
}
