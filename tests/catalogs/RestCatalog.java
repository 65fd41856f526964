// Apache Iceberg's own REST catalog, as its tests run it: java -cp "JARS/*" RestCatalog.java PORT FOLDER
import java.util.Map;
import org.apache.iceberg.Files;
import org.apache.iceberg.io.FileIO;
import org.apache.iceberg.io.InputFile;
import org.apache.iceberg.io.OutputFile;
import org.apache.iceberg.jdbc.JdbcCatalog;
import org.apache.iceberg.rest.RESTCatalogAdapter;
import org.apache.iceberg.rest.RESTCatalogServlet;
import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.ee10.servlet.ServletHolder;
import org.eclipse.jetty.server.Server;
import java.net.InetSocketAddress;

public class RestCatalog {
  /** Files of this machine, without Hadoop. */
  public static class LocalFiles implements FileIO {
    private static String path(String location) {
      return location.replaceFirst("^file://", "");
    }

    @Override
    public InputFile newInputFile(String location) {
      return Files.localInput(path(location));
    }

    @Override
    public OutputFile newOutputFile(String location) {
      return Files.localOutput(path(location));
    }

    @Override
    public void deleteFile(String location) {
      throw new UnsupportedOperationException("the files are the lake's");
    }
  }

  public static void main(String[] words) throws Exception {
    JdbcCatalog catalog =
        new JdbcCatalog(properties -> new LocalFiles(), null, true);
    catalog.initialize(
        "lake",
        Map.of("uri", "jdbc:sqlite:" + words[1] + "/rest.db", "warehouse", "file://" + words[1] + "/warehouse"));
    ServletContextHandler paths = new ServletContextHandler();
    paths.addServlet(new ServletHolder(new RESTCatalogServlet(new RESTCatalogAdapter(catalog))), "/*");
    Server server = new Server(new InetSocketAddress("127.0.0.1", Integer.parseInt(words[0])));
    server.setHandler(paths);
    server.start();
    server.join();
  }
}
