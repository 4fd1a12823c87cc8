// A C interface to the little of OpenJPH that septum-htj2k needs.
//
// No exception leaves a function of this file: everything runs inside `guarded`, which turns whatever is thrown into a
// code and a message. The caller has checked all dimensions; see ffi.rs for the contract of each function.

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <new>
#include <stdexcept>
#include <vector>

#include <sys/types.h>

#include <openjph/ojph_arch.h>
#include <openjph/ojph_base.h>
#include <openjph/ojph_codestream.h>
#include <openjph/ojph_file.h>
#include <openjph/ojph_mem.h>
#include <openjph/ojph_message.h>
#include <openjph/ojph_params.h>

namespace {

constexpr int OK = 0;
constexpr int LIBRARY = 1;
constexpr int SAMPLE_RANGE = 2;
constexpr int OUT_OF_MEMORY = 3;
constexpr int UNSUPPORTED = 4;

// What the library says goes to a stdio stream, ours instead of stderr: each thread collects what it causes itself,
// because the stream is not buffered. (Version 0.9 has handler objects too, but its configure_error does nothing.)
// The texts name causes and places in the library's source, no sample values.
thread_local char said[192];
thread_local size_t said_length;

ssize_t collect(void *, const char *text, size_t length) {
  const size_t room = sizeof said - 1 - said_length;
  const size_t kept = length < room ? length : room;
  std::memcpy(said + said_length, text, kept);
  said_length += kept;
  said[said_length] = 0;
  return static_cast<ssize_t>(length);
}

// The library keeps streams and tables for the CPU at hand in globals that its first codestream fills in; doing that
// once, before any other use, makes later concurrent use read only. The stream is never closed.
void initialise() {
  static std::once_flag once;
  std::call_once(once, [] {
    cookie_io_functions_t functions = {nullptr, collect, nullptr, nullptr};
    std::FILE *stream = fopencookie(nullptr, "w", functions);
    if (stream == nullptr) throw std::bad_alloc();
    std::setvbuf(stream, nullptr, _IONBF, 0);
    ojph::set_error_stream(stream);
    ojph::set_warning_stream(stream);
    ojph::set_info_stream(stream);
    ojph::codestream warm_up;
  });
}

struct Failure {
  int code;
  const char *message;
};

template <typename Body>
int guarded(char *message, size_t message_capacity, Body body) noexcept {
  const char *text = "";
  char copy[192] = "";
  int code;
  said_length = 0;
  said[0] = 0;
  try {
    initialise();
    body();
    return OK;
  } catch (const Failure &failure) {
    code = failure.code;
    text = failure.message;
  } catch (const std::bad_alloc &) {
    code = OUT_OF_MEMORY;
    text = "out of memory";
  } catch (const std::exception &exception) {
    code = LIBRARY;
    std::snprintf(copy, sizeof copy, "%s", said_length > 0 ? said : exception.what());
    copy[std::strcspn(copy, "\n")] = 0;
    text = copy;
  } catch (const char *thrown) {
    code = LIBRARY;
    text = thrown;
  } catch (...) {
    code = LIBRARY;
    text = "unknown exception";
  }
  if (message_capacity > 0) std::snprintf(message, message_capacity, "%s", text);
  return code;
}

struct Output : ojph::outfile_base {
  std::vector<uint8_t> bytes;
  size_t write(const void *data, size_t size) override {
    const uint8_t *begin = static_cast<const uint8_t *>(data);
    bytes.insert(bytes.end(), begin, begin + size);
    return size;
  }
  ojph::si64 tell() override { return static_cast<ojph::si64>(bytes.size()); }
};

// The library's own memory file does not check the ends when it seeks.
struct Input : ojph::infile_base {
  const uint8_t *data;
  size_t size;
  size_t at = 0;
  Input(const uint8_t *data, size_t size) : data(data), size(size) {}
  size_t read(void *target, size_t wanted) override {
    const size_t count = wanted < size - at ? wanted : size - at;
    std::memcpy(target, data + at, count);
    at += count;
    return count;
  }
  int seek(ojph::si64 offset, enum seek origin) override {
    const ojph::si64 from = origin == OJPH_SEEK_SET ? 0 : origin == OJPH_SEEK_CUR ? tell() : static_cast<ojph::si64>(size);
    ojph::si64 target;
    if (__builtin_add_overflow(from, offset, &target) || target < 0 || target > static_cast<ojph::si64>(size)) return -1;
    at = static_cast<size_t>(target);
    return 0;
  }
  ojph::si64 tell() override { return static_cast<ojph::si64>(at); }
  bool eof() override { return at >= size; }
};

// Copies one scan line of one component into `line` and folds into `outside` whatever bits lie outside the depth.
template <typename Sample>
uint32_t copy_line(const uint8_t *samples, size_t stride, uint32_t width, uint32_t depth, bool is_signed,
                   ojph::si32 *line) {
  uint32_t outside = 0;
  const uint32_t shift = 32 - depth;
  for (uint32_t column = 0; column < width; ++column) {
    Sample sample;
    std::memcpy(&sample, samples + column * stride, sizeof sample);
    const ojph::si32 value = sample;
    const uint32_t bits = static_cast<uint32_t>(value);
    const uint32_t kept = is_signed ? static_cast<uint32_t>(static_cast<int32_t>(bits << shift) >> shift)
                                    : (bits << shift) >> shift;
    outside |= bits ^ kept;
    line[column] = value;
  }
  return outside;
}

uint32_t copy_line(const uint8_t *samples, size_t sample_bytes, size_t stride, uint32_t width, uint32_t depth,
                   bool is_signed, ojph::si32 *line) {
  if (sample_bytes == 1)
    return is_signed ? copy_line<int8_t>(samples, stride, width, depth, true, line)
                     : copy_line<uint8_t>(samples, stride, width, depth, false, line);
  return is_signed ? copy_line<int16_t>(samples, stride, width, depth, true, line)
                   : copy_line<uint16_t>(samples, stride, width, depth, false, line);
}

}  // namespace

extern "C" {

struct septum_htj2k_image {
  uint32_t width;
  uint32_t height;
  uint32_t components;
  uint32_t bit_depth;
  uint32_t is_signed;
};

// On success `*handle` owns the codestream, which `*bytes` and `*length` describe, until septum_htj2k_release.
int septum_htj2k_encode(const septum_htj2k_image *image, const uint8_t *samples, size_t sample_bytes, size_t is_planar,
                        uint32_t num_decompositions, void **handle, const uint8_t **bytes, size_t *length,
                        char *message, size_t message_capacity) {
  return guarded(message, message_capacity, [&] {
    // Owns before it may throw; released to the caller at the end.
    struct Owner {
      Output *output = new Output;
      ~Owner() { delete output; }
    } owner;
    {
      ojph::codestream codestream;
      ojph::param_siz siz = codestream.access_siz();
      siz.set_image_extent(ojph::point(image->width, image->height));
      siz.set_num_components(image->components);
      for (uint32_t component = 0; component < image->components; ++component)
        siz.set_component(component, ojph::point(1, 1), image->bit_depth, image->is_signed != 0);
      siz.set_image_offset(ojph::point(0, 0));
      siz.set_tile_size(ojph::size(image->width, image->height));
      siz.set_tile_offset(ojph::point(0, 0));
      ojph::param_cod cod = codestream.access_cod();
      cod.set_num_decomposition(num_decompositions);
      cod.set_block_dims(64, 64);
      cod.set_progression_order("RPCL");
      cod.set_color_transform(image->components == 3);
      cod.set_reversible(true);
      codestream.set_planar(false);
      owner.output->bytes.reserve(static_cast<size_t>(image->width) * image->height * image->components * sample_bytes / 2 + 4096);
      codestream.write_headers(owner.output);

      const size_t stride = is_planar ? sample_bytes : sample_bytes * image->components;
      const size_t row_bytes = stride * image->width;
      const size_t plane_bytes = row_bytes * image->height;
      uint32_t outside = 0;
      ojph::ui32 component = 0;
      ojph::line_buf *line = codestream.exchange(nullptr, component);
      for (uint32_t row = 0; row < image->height; ++row) {
        for (uint32_t index = 0; index < image->components; ++index) {
          if (line == nullptr || component >= image->components || line->size < image->width)
            throw Failure{LIBRARY, "the library asked for an unexpected line"};
          const size_t start = is_planar ? component * plane_bytes : component * sample_bytes;
          outside |= copy_line(samples + start + row * row_bytes, sample_bytes, stride, image->width, image->bit_depth,
                               image->is_signed != 0, line->i32);
          line = codestream.exchange(line, component);
        }
      }
      if (outside != 0) throw Failure{SAMPLE_RANGE, "a sample lies outside the bit depth"};
      codestream.flush();
      codestream.close();
    }
    *bytes = owner.output->bytes.data();
    *length = owner.output->bytes.size();
    *handle = owner.output;
    owner.output = nullptr;
  });
}

void septum_htj2k_release(void *handle) { delete static_cast<Output *>(handle); }

// Decodes into `samples`: interleaved, 1 byte each up to 8 bits and 2 (little endian) above; `capacity` is exactly
// what `image`, read from the codestream's SIZ before, asks for.
int septum_htj2k_decode(const uint8_t *bytes, size_t length, const septum_htj2k_image *image, uint8_t *samples,
                        size_t capacity, char *message, size_t message_capacity) {
  return guarded(message, message_capacity, [&] {
    Input input(bytes, length);
    ojph::codestream codestream;
    codestream.read_headers(&input);
    ojph::param_siz siz = codestream.access_siz();
    const size_t sample_bytes = image->bit_depth <= 8 ? 1 : 2;
    const size_t stride = sample_bytes * image->components;
    const size_t row_bytes = stride * image->width;
    if (siz.get_num_components() != image->components || row_bytes * image->height != capacity)
      throw Failure{UNSUPPORTED, "the library reads another image than the header says"};
    for (uint32_t component = 0; component < image->components; ++component)
      if (siz.get_recon_width(component) != image->width || siz.get_recon_height(component) != image->height ||
          siz.get_bit_depth(component) != image->bit_depth || siz.is_signed(component) != (image->is_signed != 0))
        throw Failure{UNSUPPORTED, "the library reads another image than the header says"};
    codestream.set_planar(false);
    codestream.create();
    const int32_t low = image->is_signed ? -(1 << (image->bit_depth - 1)) : 0;
    const int32_t high = (1 << (image->bit_depth - (image->is_signed ? 1 : 0))) - 1;
    for (uint32_t row = 0; row < image->height; ++row) {
      for (uint32_t index = 0; index < image->components; ++index) {
        ojph::ui32 component = 0;
        ojph::line_buf *line = codestream.pull(component);
        if (line == nullptr || component != index || line->size < image->width)
          throw Failure{LIBRARY, "the library gave an unexpected line"};
        uint8_t *target = samples + row * row_bytes + component * sample_bytes;
        for (uint32_t column = 0; column < image->width; ++column) {
          int32_t value = line->i32[column];
          value = value < low ? low : value > high ? high : value;
          target[column * stride] = static_cast<uint8_t>(value);
          if (sample_bytes == 2) target[column * stride + 1] = static_cast<uint8_t>(value >> 8);
        }
      }
    }
    codestream.close();
  });
}

}  // extern "C"
