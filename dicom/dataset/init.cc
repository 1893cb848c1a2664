/* DCMTK's global state: dictionary, codecs, log. */

#include "base/log.h"
#include "dicom/dataset/dataset_internal.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wundef"
#include "dcmtk/dcmdata/dcrledrg.h"
#include "dcmtk/dcmjpeg/djdecode.h"
#include "dcmtk/dcmjpls/djdecode.h"
#include "dcmtk/oflog/appender.h"
#include "dcmtk/oflog/oflog.h"
#include "dcmtk/oflog/spi/logevent.h"
#pragma GCC diagnostic pop

#include <atomic>
#include <cstring>

namespace
{

/* Reports of corrupt data from the JPEG library in this thread. */
thread_local uint64_t n_jpeg_complaints;

/* Words of libijg for coded data that cannot be right. It also warns of things that do no harm,
 * such as odd SOS parameters. */
bool is_corruption(const char *message)
{
    for (const char *words : {"remature end", "bad Huffman code", "instead of RST"}) {
        if (strstr(message, words) != nullptr) {
            return true;
        }
    }
    return false;
}

/* DCMTK's messages quote values, so only their number and level are logged, and at debug level:
 * what matters of them comes back as an error of ours. A hostile file can
 * cause thousands: the 1st, 2nd, 4th, 8th ... of a level is written. */
class CountingAppender : public dcmtk::log4cplus::Appender
{
  public:
    CountingAppender() = default;
    CountingAppender(const CountingAppender &) = delete;
    CountingAppender &operator=(const CountingAppender &) = delete;
    ~CountingAppender() override
    {
        destructorImpl();
    }
    void close() override
    {
        closed = true;
    }

  protected:
    void append(const dcmtk::log4cplus::spi::InternalLoggingEvent &event) override
    {
        if (event.getLoggerName().find("dcmjpeg") != OFString_npos &&
            is_corruption(event.getMessage().c_str())) {
            n_jpeg_complaints++;
        }
        const bool is_error = event.getLogLevel() >= dcmtk::log4cplus::ERROR_LOG_LEVEL;
        const uint64_t total = ++(is_error ? n_errors : n_warnings);
        if ((total & (total - 1)) == 0) {
            md_log(MD_LOG_DEBUG, "dcmtk_messages",
                   MD_LOG_TEXT("severity", is_error ? "error" : "warning"),
                   MD_LOG_INT("count", total));
        }
    }

  private:
    std::atomic<uint64_t> n_errors{0}, n_warnings{0};
};

bool is_initialised;

void route_log()
{
    using namespace dcmtk::log4cplus;
    Logger root = Logger::getRoot();
    root.removeAllAppenders();
    root.addAppender(SharedAppenderPtr(new CountingAppender));
    root.setLogLevel(WARN_LOG_LEVEL);
}

md_status init_dcmtk(md_error *err)
{
    if (is_initialised) {
        return MD_OK;
    }
    /* First, because loading the dictionary logs. */
    OFLog::configure(OFLogger::WARN_LOG_LEVEL);
    route_log();
    if (!dcmDataDict.isDictionaryLoaded()) {
        return md_fail(err, MD_NOT_FOUND,
                       "no DICOM dictionary: install libdcmtk17 or set DCMDICTPATH");
    }
    /* An attribute of the standard in VR UN is read as what the dictionary says it is. */
    dcmEnableUnknownVRConversion.set(OFTrue);
    /* Colour stays as it is coded: dicom/image converts it. */
    DJDecoderRegistration::registerCodecs(EDC_never, EUC_never);
    DJLSDecoderRegistration::registerCodecs();
    DcmRLEDecoderRegistration::registerCodecs();
    is_initialised = true;
    return MD_OK;
}

void finish_dcmtk()
{
    DcmRLEDecoderRegistration::cleanup();
    DJLSDecoderRegistration::cleanup();
    DJDecoderRegistration::cleanup();
    dcmDataDict.clear();
    dcmtk::log4cplus::Logger::getRoot().removeAllAppenders();
    is_initialised = false;
}

} // namespace

uint64_t md_dcmtk_jpeg_complaints() noexcept
{
    return n_jpeg_complaints;
}

md_status md_dicom_init(md_error *err) noexcept
{
    return md_guard(err, __func__, [&] { return init_dcmtk(err); });
}

void md_dicom_finish(void) noexcept
{
    if (is_initialised) {
        (void)md_guard(nullptr, __func__, [] {
            finish_dcmtk();
            return MD_OK;
        });
    }
}
